"""What the networks are: text encoder, UNet and autoencoder, each a frozen config and a module built from it."""
