import torch
from torch import nn


def main():
    model = nn.Linear(4, 2)
    print(model(torch.zeros(1, 4)))


if __name__ == "__main__":
    main()
