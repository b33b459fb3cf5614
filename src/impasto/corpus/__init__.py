"""What a model learned from: rows with maker, licence and consent under one Merkle root.

    plan (TOML) --sources--> candidates --policy--> drawings --dedup, split--> rows + refusals --store--> corpus folder

Nothing here needs torch except `dataset`, which hands an admitted corpus to a training loop.
"""
