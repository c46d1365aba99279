"""PyTorch: any CPU, NVIDIA's and AMD's GPUs, Hygon's DCUs and Huawei's Ascend NPUs.

accelerators   one file for each kind of hardware: its kernels, operations and memory
kernels        how a weight lies on a device, and the product with it: tables of torch's operators
engine         the model's forward on these kernels, with its cache
operations     what is computed between the linear layers
simulated      devices of other vendors on the CPU, on request, with those vendors' checks
platforms      what is known of a vendor's driver, and of the builds of torch for it
devices        which devices a target has here
build, probe   which torch is installed, and what it says of devices, asked in a worker process
diagnosis      why torch finds no device where the driver lists one
placement      which device each operator ran on

Torch is imported inside functions, so importing this package costs next to nothing.
"""

from qdeploy.backends.torch.backend import TorchBackend

__all__ = ["TorchBackend"]
