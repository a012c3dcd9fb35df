"""What tells trustworthy interactions from noise: agreement of modalities, teachers that weigh their loss."""
