"""The zoo: small, structurally faithful generators that are really trained. `models` lists them."""
