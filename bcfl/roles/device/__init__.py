"""Train as a device, commit to the update and reveal it."""

from bcfl.renamed import former_names

__getattr__ = former_names(__name__, {"Device": "bcfl.roles.device.device.Device"})
