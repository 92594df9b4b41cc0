"""The names that SB3 and its libraries write into pickles, each with what it stands for.

Taken from what is met in real files: 17 agents that SB3's authors published (SB3 0.6 to 2.4), and
what `save`, `save_replay_buffer` and `VecNormalize.save` write for every algorithm of SB3 and
sb3-contrib 2.9, with numpy 1 and 2, gym and gymnasium; completed by the classes beside them
(activations, optimizers, spaces, policies). Names are exact: a module that is known as a whole
would open all that it imports. What may be done with a name its role says, and `forms`.
"""

from __future__ import annotations

from sacdoctor.trust.things import Role


def role_of(module: str, qualname: str) -> Role | None:
    """Return what a name stands for, None where it is not known."""
    return KNOWN.get((module, qualname))


_POLICIES = "CnnPolicy MlpPolicy MultiInputPolicy"
_STORAGES = (
    "FloatStorage DoubleStorage HalfStorage BFloat16Storage LongStorage IntStorage ShortStorage "
    "CharStorage ByteStorage BoolStorage ComplexFloatStorage ComplexDoubleStorage UntypedStorage"
)
_SPACES = {
    "box": "Box",
    "dict": "Dict",
    "discrete": "Discrete",
    "graph": "Graph GraphInstance",
    "multi_binary": "MultiBinary",
    "multi_discrete": "MultiDiscrete",
    "oneof": "OneOf",
    "sequence": "Sequence",
    "text": "Text",
    "tuple": "Tuple",
}
_CLOUDPICKLE_FUNCTIONS = (
    "_make_function _make_skel_func _make_cell _make_empty_cell _fill_function _function_setstate "
    "_cell_set"
)
_CLOUDPICKLE_MAKERS = (
    "_make_skeleton_class _make_skeleton_enum _class_setstate _rehydrate_skeleton_class"
)
_SLOTS = " ".join(
    f"{kind}.{method}"
    for kind in ("object", "tuple", "dict", "list", "int", "float", "str")
    for method in ("__new__", "__init__", "__eq__", "__hash__", "__repr__", "__str__")
)
_CLOUDPICKLE_PARTS = "_empty_cell_value _get_dataclass_field_type_sentinel"

_BY_ROLE: dict[Role, dict[str, str]] = {
    Role.TYPE: {
        "builtins": (
            "bool int float complex str bytes bytearray dict list tuple set frozenset slice range "
            "object NotImplementedType"
        ),
        "collections": "OrderedDict deque defaultdict Counter",
        "numpy": (
            "float16 float32 float64 longdouble int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
            "bool_ bool complex64 complex128 ndarray"
        ),
        "numpy.random._pcg64": "PCG64 PCG64DXSM",
        "numpy.random._mt19937": "MT19937",
        "numpy.random._philox": "Philox",
        "numpy.random._sfc64": "SFC64",
        "numpy.random.bit_generator": "SeedSequence SeedlessSeedSequence",
        "torch": "Size Tensor device",
        "torch._tensor": "Tensor",
        "torch.nn.parameter": "Parameter Buffer",
    },
    Role.PLACEHOLDER: {
        "stable_baselines3.common.policies": "BasePolicy._dummy_schedule",
    },
    Role.CONSTANT: {
        "torch": (
            "float16 float32 float64 bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
            "bool complex64 complex128 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz"
        ),
    },
    Role.STORAGE: {
        "torch": _STORAGES,
        "torch.storage": f"{_STORAGES} TypedStorage _TypedStorage _UntypedStorage",
        "torch.cuda": _STORAGES,
    },
    Role.POLICY: {
        "stable_baselines3.common.policies": (
            "ActorCriticPolicy ActorCriticCnnPolicy MultiInputActorCriticPolicy"
        ),
        "stable_baselines3.dqn.policies": f"DQNPolicy {_POLICIES}",
        "stable_baselines3.sac.policies": f"SACPolicy {_POLICIES}",
        "stable_baselines3.td3.policies": f"TD3Policy {_POLICIES}",
        "sb3_contrib.ars.policies": "ARSPolicy ARSLinearPolicy LinearPolicy MlpPolicy",
        "sb3_contrib.common.maskable.policies": (
            "MaskableActorCriticPolicy MaskableActorCriticCnnPolicy "
            "MaskableMultiInputActorCriticPolicy"
        ),
        "sb3_contrib.common.recurrent.policies": (
            "RecurrentActorCriticPolicy RecurrentActorCriticCnnPolicy "
            "RecurrentMultiInputActorCriticPolicy"
        ),
        "sb3_contrib.crossq.policies": "CrossQPolicy MlpPolicy",
        "sb3_contrib.qrdqn.policies": f"QRDQNPolicy {_POLICIES}",
        "sb3_contrib.tqc.policies": f"TQCPolicy {_POLICIES}",
    },
    Role.EXTRACTOR: {
        "stable_baselines3.common.torch_layers": "FlattenExtractor NatureCNN CombinedExtractor",
    },
    Role.ACTIVATION: {
        "torch.nn.modules.activation": (
            "CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid "
            "LogSoftmax Mish PReLU RReLU ReLU ReLU6 SELU SiLU Sigmoid Softmax Softmax2d Softmin "
            "Softplus Softshrink Softsign Tanh Tanhshrink Threshold"
        ),
        "torch.nn.modules.linear": "Identity",
    },
    Role.OPTIMIZER: {
        "torch.optim.adadelta": "Adadelta",
        "torch.optim.adagrad": "Adagrad",
        "torch.optim.adam": "Adam",
        "torch.optim.adamax": "Adamax",
        "torch.optim.adamw": "AdamW",
        "torch.optim.asgd": "ASGD",
        "torch.optim.nadam": "NAdam",
        "torch.optim.radam": "RAdam",
        "torch.optim.rmsprop": "RMSprop",
        "torch.optim.rprop": "Rprop",
        "torch.optim.sgd": "SGD",
        "stable_baselines3.common.sb2_compat.rmsprop_tf_like": "RMSpropTFLike",
    },
    Role.BUFFER: {
        "stable_baselines3.common.buffers": (
            "ReplayBuffer DictReplayBuffer NStepReplayBuffer RolloutBuffer DictRolloutBuffer"
        ),
        "stable_baselines3.her.her_replay_buffer": "HerReplayBuffer",
        "sb3_contrib.common.maskable.buffers": "MaskableRolloutBuffer MaskableDictRolloutBuffer",
        "sb3_contrib.common.recurrent.buffers": "RecurrentRolloutBuffer RecurrentDictRolloutBuffer",
    },
    Role.SPACE: {
        f"{package}.spaces.{module}": classes
        for package in ("gym", "gymnasium")
        for module, classes in _SPACES.items()
    },
    Role.NOISE: {
        "stable_baselines3.common.noise": (
            "NormalActionNoise OrnsteinUhlenbeckActionNoise VectorizedActionNoise"
        ),
    },
    Role.STATISTICS: {
        "stable_baselines3.common.running_mean_std": "RunningMeanStd",
        "stable_baselines3.common.vec_env.vec_normalize": "VecNormalize",
    },
    Role.SCHEDULE: {
        "stable_baselines3.common.utils": "FloatSchedule ConstantSchedule LinearSchedule",
    },
    Role.ENUM: {
        "stable_baselines3.common.type_aliases": "TrainFrequencyUnit",
        "stable_baselines3.her.goal_selection_strategy": "GoalSelectionStrategy",
    },
    Role.MATHS: {
        "builtins": "abs min max pow round sum len",
        "math": "ceil cos cosh exp fabs floor log log10 log2 pow sin sinh sqrt tan tanh",
        "numpy": "exp log log2 log10 sqrt sin cos tan tanh floor ceil clip maximum minimum",
    },
    Role.FUNCTION: {
        "_codecs": "encode",
        "copyreg": "_reconstructor __newobj__",
        "datetime": "date datetime time timedelta timezone",
        "numpy": "dtype",
        "numpy.core.multiarray": "_reconstruct scalar",
        "numpy._core.multiarray": "_reconstruct scalar",
        "numpy.core.numeric": "_frombuffer",
        "numpy._core.numeric": "_frombuffer",
        "numpy.random": "__RandomState_ctor",
        "numpy.random._pickle": "__randomstate_ctor __generator_ctor __bit_generator_ctor",
        "pathlib": "PosixPath WindowsPath PurePosixPath PureWindowsPath Path",
        "pathlib._local": "PosixPath WindowsPath PurePosixPath PureWindowsPath Path",
        "numpy.random.bit_generator": (
            "__pyx_unpickle_SeedSequence __pyx_unpickle_SeedlessSeedSequence"
        ),
        "stable_baselines3.common.type_aliases": "TrainFreq",
        "torch._utils": (
            "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter "
            "_rebuild_parameter_with_state"
        ),
        "torch._tensor": "_rebuild_from_type_v2",
        "torch.serialization": "_get_layout",
        "types": "CodeType SimpleNamespace",
        "cloudpickle.cloudpickle": _CLOUDPICKLE_FUNCTIONS,
        "cloudpickle.cloudpickle_fast": _CLOUDPICKLE_FUNCTIONS,
    },
    Role.FOLLOWED: {
        "builtins": "type getattr",
        "functools": "partial",
        "torch.storage": "_load_from_bytes",
        "cloudpickle.cloudpickle": "subimport _builtin_type",
        "cloudpickle.cloudpickle_fast": "subimport _builtin_type",
    },
    Role.MAKER: {
        "cloudpickle.cloudpickle": _CLOUDPICKLE_MAKERS,
        "cloudpickle.cloudpickle_fast": _CLOUDPICKLE_MAKERS,
    },
    Role.METHOD: {
        "abc": "ABCMeta ABC",
        "builtins": f"property classmethod staticmethod super map zip {_SLOTS}",
        "enum": "Enum Enum.__new__ IntEnum Flag IntFlag EnumMeta EnumType",
        "cloudpickle.cloudpickle": _CLOUDPICKLE_PARTS,
        "cloudpickle.cloudpickle_fast": _CLOUDPICKLE_PARTS,
        "types": "NoneType FunctionType LambdaType",
        "stable_baselines3.common.torch_layers": "BaseFeaturesExtractor",
        "stable_baselines3.common.policies": "BaseModel BasePolicy",
        "stable_baselines3.common.buffers": "BaseBuffer",
        "stable_baselines3.common.noise": "ActionNoise",
        "torch.nn.modules.module": "Module",
    },
}
KNOWN: dict[tuple[str, str], Role] = {
    (module, qualname): role
    for role, names in _BY_ROLE.items()
    for module, qualnames in names.items()
    for qualname in qualnames.split()
}
"""The role of each known name, by module and qualified name. `__builtin__` and `copy_reg` are what
Python 2 calls `builtins` and `copyreg`."""
for (_module, _qualname), _role in tuple(KNOWN.items()):
    if _module in ("builtins", "copyreg"):
        KNOWN[{"builtins": "__builtin__", "copyreg": "copy_reg"}[_module], _qualname] = _role
KNOWN |= {("__builtin__", "unicode"): Role.TYPE, ("__builtin__", "long"): Role.TYPE}

IMPORTS = frozenset(("math", "cmath", "numpy", "torch", "torch.nn", "gymnasium", "gym"))
"""Modules whose mere import tells nothing: code in a pickle that computes takes them along."""
