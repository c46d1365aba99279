"""The schema of MindIE's server configuration, as its documentation has it.

Names, ranges and defaults are those of "Configuration Parameters (Service-Specific)" of MindIE LLM:
docs/zh/user_guide/user_manual/service_parameter_configuration.md in its repository, and
mindie_service0285 at hiascend.com for 2.3.0. Where that leaves a choice, the default here is the
safe one: loopback, no remote code, no cut prompts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from qdeploy.storage.toml_file import Strict

if TYPE_CHECKING:
    from typing_extensions import Self

Port = Annotated[int, Field(ge=1024, le=65535)]
Tokens = Annotated[int, Field(ge=1, le=4194304)]
NAME = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$"


class ServerConfig(Strict):
    """How it listens: on loopback, without TLS, so that nothing outside reaches it."""

    ipAddress: str = "127.0.0.1"
    managementIpAddress: str = "127.0.0.1"
    port: Port = 1025
    managementPort: Port = 1026
    metricsPort: Port = 1027
    allowAllZeroIpListening: Literal[False] = False
    maxLinkNum: Annotated[int, Field(ge=1, le=4096)] = 300
    httpsEnabled: bool = False
    inferMode: Literal["standard", "dmi"] = "standard"
    interCommTLSEnabled: bool = False
    openAiSupport: str = "vllm"
    tokenTimeout: Annotated[int, Field(ge=1, le=3600)] = 600
    e2eTimeout: Annotated[int, Field(ge=1, le=65535)] = 3600
    distDPServerEnabled: bool = False


class ModelConfig(Strict):
    """The weights, and on how many NPUs."""

    modelInstanceType: Literal["Standard", "StandardMock"] = "Standard"
    modelName: Annotated[str, Field(pattern=NAME, max_length=256)]
    modelWeightPath: Annotated[str, Field(pattern=r"^/", max_length=4096)]
    worldSize: Annotated[int, Field(ge=1)]
    cpuMemSize: Annotated[int, Field(ge=0)] = 5
    npuMemSize: Annotated[int, Field(ge=-1, le=2147483647)] = -1
    backendType: Literal["atb", "torch"] = "atb"
    trustRemoteCode: Literal[False] = False


class ModelDeployConfig(Strict):
    """Lengths of texts."""

    maxSeqLen: Annotated[int, Field(ge=1)]
    maxInputTokenLen: Tokens
    truncation: Literal[False] = False
    ModelConfig: Annotated[list[ModelConfig], Field(min_length=1, max_length=1)]


class ScheduleConfig(Strict):
    """How requests are batched."""

    templateType: Literal["Standard", "Mix"] = "Standard"
    templateName: Literal["Standard_LLM"] = "Standard_LLM"
    cacheBlockSize: Annotated[int, Field(ge=1, le=128, multiple_of=16)] = 128
    maxPrefillBatchSize: Annotated[int, Field(ge=1)]
    maxPrefillTokens: Tokens
    prefillTimeMsPerReq: Annotated[int, Field(ge=0, le=1000)] = 150
    prefillPolicyType: Literal[0] = 0
    decodeTimeMsPerReq: Annotated[int, Field(ge=0, le=1000)] = 50
    decodePolicyType: Literal[0] = 0
    maxBatchSize: Annotated[int, Field(ge=1, le=819200)]
    maxIterTimes: Annotated[int, Field(ge=1)]
    maxPreemptCount: Annotated[int, Field(ge=0)] = 0
    supportSelectBatch: bool = False
    maxQueueDelayMicroseconds: Annotated[int, Field(ge=500, le=1000000)] = 5000
    maxFirstTokenWaitTime: Annotated[int, Field(ge=0, le=3600000)] = 2500


class BackendConfig(Strict):
    """The engine behind the server."""

    backendName: Literal["mindieservice_llm_engine"] = "mindieservice_llm_engine"
    modelInstanceNumber: Annotated[int, Field(ge=1, le=10)] = 1
    npuDeviceIds: list[list[int]]
    tokenizerProcessNumber: Annotated[int, Field(ge=1, le=32)] = 8
    multiNodesInferEnabled: bool = False
    multiNodesInferPort: Port = 1120
    interNodeTLSEnabled: bool = False
    ModelDeployConfig: ModelDeployConfig
    ScheduleConfig: ScheduleConfig

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        deploy, schedule = self.ModelDeployConfig, self.ScheduleConfig
        rules = {
            "worldSize is the number of NPUs":
                [deploy.ModelConfig[0].worldSize] == [len(set(ids)) for ids in self.npuDeviceIds],
            "maxInputTokenLen is below maxSeqLen": deploy.maxInputTokenLen < deploy.maxSeqLen,
            "maxPrefillTokens holds a prompt of maxInputTokenLen":
                schedule.maxPrefillTokens >= deploy.maxInputTokenLen,
            "maxPrefillBatchSize is at most maxBatchSize":
                schedule.maxPrefillBatchSize <= schedule.maxBatchSize,
            "maxIterTimes is at most maxSeqLen": schedule.maxIterTimes <= deploy.maxSeqLen,
            "maxPreemptCount is at most maxBatchSize":
                schedule.maxPreemptCount <= schedule.maxBatchSize,
        }  # fmt: skip
        if broken := [rule for rule, holds in rules.items() if not holds]:
            raise ValueError("; ".join(broken))
        return self


class Config(Strict):
    """The file."""

    Version: Literal["1.0.0"] = "1.0.0"
    ServerConfig: ServerConfig
    BackendConfig: BackendConfig
