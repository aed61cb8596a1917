"""After Karpathy's nanoGPT: forward(idx, targets) returns (logits, loss)."""

import torch
import torch.nn as nn
from torch.nn import functional as F

from autoaccel import Task

block_size, vocab_size, n_embd = 12, 16, 32


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.c_attn, self.c_proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)
        self.mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.GELU(), nn.Linear(4 * n_embd, n_embd))

    def forward(self, x):
        B, T, C = x.size()  # noqa: N806
        q, k, v = (t.view(B, T, 2, C // 2).transpose(1, 2) for t in self.c_attn(self.ln_1(x)).split(n_embd, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).reshape(B, T, C))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab_size, n_embd), nn.Embedding(block_size, n_embd)
        self.h = nn.ModuleList([Block(), Block()])
        self.ln_f = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        self.wte.weight = self.lm_head.weight  # weight tying

    def forward(self, idx, targets=None):
        x = self.wte(idx) + self.wpe(torch.arange(idx.size(1), device=idx.device))
        for block in self.h:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)


g = torch.Generator().manual_seed(1337)
text = (torch.arange(2000) * 3 + torch.randint(0, 2, (2000,), generator=g)) % vocab_size
windows = text.unfold(0, block_size + 1, 2)
n = int(0.9 * len(windows))

task = Task(
    model=GPT,
    train=(windows[:n, :-1], windows[:n, 1:]),
    valid=(windows[n:, :-1], windows[n:, 1:]),
    loss="model",
)
