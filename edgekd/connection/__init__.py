"""Where engines run: this machine or a device, the device package started there and talked to."""
