"""The two services. They share no table and import nothing from each other; only `shared`."""
