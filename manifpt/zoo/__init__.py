"""The zoo: small, structurally faithful generators, really trained. `registry` names them."""
