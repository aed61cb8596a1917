"""The searches that autoaccel is compared with, each with the settings that its authors advise."""
