"""Simulated accelerators: PyTorch devices that compute on the CPU and check what a vendor checks.

A tensor on `simulated:I` has the device, the strides and the aliasing that a real one would have.
It cannot be mixed with CPU tensors, has no NumPy view, and counts against the memory of its device.
Each device index stands for one chip of one vendor, so the vendor is a property of the device, and
chips of several vendors live side by side in one process.

    chips         the chips that can be simulated, two devices of each
    devices       what --simulate finds
    device        activating a chip; its counts of operators and its memory
    state         what is known of each device: chip, counts, memory
    memory        bytes of live storages, and the limit
    registration  the PrivateUse1 backend "simulated", once a process
    module        torch.simulated, what torch asks a device's module
    tensor        the tensor and its dispatch
    kernels       which function runs an operator on a chip
    common        operators that every accelerator has
    checks        the check of arguments
    unpacked      weights that products have unpacked once
    gpu, ascend   operators of CUDA and HIP devices, and of Ascend

`registration`, `module` and `tensor` import torch; the other modules do not, and load those when a
chip is activated.
"""
