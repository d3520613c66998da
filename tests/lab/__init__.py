"""The fault lab: real processes under load, a seeded schedule of faults, and a checker of every promise.

What belongs to one promise of the product is in `checks/`, what breaks it is in `faults/`. No code of the product
comes in: the lab knows it by its API, its databases and its mails.
"""
