"""How a network denoises: schedules, denoisers, guidance, samplers and noise, each ignorant of the others' inside.

Everything here speaks the variance-exploding form of Karras et al. (2206.00364): `x = x0 + sigma * noise`. Only the
denoisers know that a Stable Diffusion network was trained in the variance-preserving form.
"""
