"""How a latent becomes static, and static a latent: process, schedules, solvers, conditions, losses."""
