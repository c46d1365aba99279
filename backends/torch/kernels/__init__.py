"""How weights lie on a device, and the products with them: tables of torch's operators."""
