"""The names that a harmless pickle of SB3 may refer to, and the words for those that harm.

Taken from what is met in real files: 17 agents that SB3's authors published (SB3 0.6 to 2.4), and
what `save`, `save_replay_buffer` and `VecNormalize.save` write for every algorithm of SB3 and
sb3-contrib 2.9, with numpy 1 and 2, gym and gymnasium; completed by the classes beside them
(activations, optimizers, spaces, policies). A name is allowed because calling it with any argument
only makes a value. Names are exact: a module that is allowed as a whole would open all that it
imports. What picklescan's list of dangerous names leaves out stands at the end.
"""

from __future__ import annotations


def is_allowed(module: str, qualname: str) -> bool:
    """Return whether a pickle may refer to this name without anyone being told."""
    return qualname in ALLOWED.get(module, ())


def _words(names: str) -> frozenset[str]:
    return frozenset(names.split())


_POLICIES = "CnnPolicy MlpPolicy MultiInputPolicy"
_DTYPES = (
    "float16 float32 float64 longdouble int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool_ "
    "complex64 complex128"
)
_SCALARS = "bool int float complex str bytes bytearray dict list tuple set frozenset slice range"
_TORCH_DTYPES = (
    "float16 float32 float64 bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool "
    "complex64 complex128 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz"
)
_STORAGES = (
    "FloatStorage DoubleStorage HalfStorage BFloat16Storage LongStorage IntStorage ShortStorage "
    "CharStorage ByteStorage BoolStorage ComplexFloatStorage ComplexDoubleStorage UntypedStorage"
)
_CLOUDPICKLE = (
    # They put code together that stands in the pickle; that code is reported by itself.
    "_make_function _make_skel_func _make_cell _make_empty_cell _empty_cell_value _builtin_type "
    "_fill_function _function_setstate _make_skeleton_class _make_skeleton_enum _class_setstate "
    "_rehydrate_skeleton_class _cell_set subimport"
)

_BY_MODULE = {
    # -- Python. `getattr`, `partial` and `import` are followed: what they lead to is judged.
    "builtins": _SCALARS + " object object.__new__ type getattr NotImplementedType",
    "__builtin__": _SCALARS + " object type getattr unicode long",
    "collections": "OrderedDict deque defaultdict Counter",
    "copyreg": "_reconstructor __newobj__",
    "copy_reg": "_reconstructor __newobj__",
    "_codecs": "encode",
    "functools": "partial",
    "datetime": "date datetime time timedelta timezone",
    "enum": "Enum Enum.__new__ IntEnum Flag IntFlag",
    "math": "ceil cos cosh exp fabs floor log log10 log2 pow sin sinh sqrt tan tanh",
    "pathlib": "PosixPath WindowsPath PurePosixPath PureWindowsPath Path",
    "pathlib._local": "PosixPath WindowsPath PurePosixPath PureWindowsPath Path",
    "types": "CodeType FunctionType LambdaType ModuleType CellType SimpleNamespace",
    # -- numpy 1 and 2
    "numpy": f"dtype ndarray {_DTYPES}",
    "numpy.core.multiarray": "_reconstruct scalar",
    "numpy._core.multiarray": "_reconstruct scalar",
    "numpy.core.numeric": "_frombuffer",
    "numpy._core.numeric": "_frombuffer",
    "numpy.random": "__RandomState_ctor RandomState Generator",
    "numpy.random._pickle": "__randomstate_ctor __generator_ctor __bit_generator_ctor",
    "numpy.random.mtrand": "RandomState",
    "numpy.random._generator": "Generator",
    "numpy.random._mt19937": "MT19937",
    "numpy.random._pcg64": "PCG64 PCG64DXSM",
    "numpy.random._philox": "Philox",
    "numpy.random._sfc64": "SFC64",
    "numpy.random.bit_generator": (
        "SeedSequence SeedlessSeedSequence __pyx_unpickle_SeedSequence "
        "__pyx_unpickle_SeedlessSeedSequence"
    ),
    # -- torch. `_load_from_bytes` reads a torch file inside the pickle, which is followed.
    "torch": f"Size Tensor device Generator {_TORCH_DTYPES} {_STORAGES}",
    "torch.storage": f"_load_from_bytes {_STORAGES} TypedStorage _TypedStorage _UntypedStorage",
    "torch.cuda": _STORAGES,
    "torch.serialization": "_get_layout",
    "torch._utils": (
        "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter "
        "_rebuild_parameter_with_state"
    ),
    "torch._tensor": "_rebuild_from_type_v2 Tensor",
    "torch.nn.parameter": "Parameter Buffer",
    "torch.nn.modules.activation": (
        "CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid "
        "LogSoftmax Mish PReLU RReLU ReLU ReLU6 SELU SiLU Sigmoid Softmax Softmax2d Softmin "
        "Softplus Softshrink Softsign Tanh Tanhshrink Threshold"
    ),
    "torch.nn.modules.linear": "Identity",
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
    # -- cloudpickle and its older halves
    "cloudpickle.cloudpickle": _CLOUDPICKLE,
    "cloudpickle.cloudpickle_fast": _CLOUDPICKLE,
    # -- SB3
    "stable_baselines3.common.buffers": (
        "ReplayBuffer DictReplayBuffer NStepReplayBuffer RolloutBuffer DictRolloutBuffer"
    ),
    "stable_baselines3.common.noise": (
        "NormalActionNoise OrnsteinUhlenbeckActionNoise VectorizedActionNoise"
    ),
    "stable_baselines3.common.policies": (
        "ActorCriticPolicy ActorCriticCnnPolicy MultiInputActorCriticPolicy"
    ),
    "stable_baselines3.common.running_mean_std": "RunningMeanStd",
    "stable_baselines3.common.sb2_compat.rmsprop_tf_like": "RMSpropTFLike",
    "stable_baselines3.common.torch_layers": "FlattenExtractor NatureCNN CombinedExtractor",
    "stable_baselines3.common.type_aliases": "TrainFreq TrainFrequencyUnit",
    "stable_baselines3.common.utils": (
        "FloatSchedule ConstantSchedule LinearSchedule constant_fn get_linear_fn get_schedule_fn"
    ),
    "stable_baselines3.common.vec_env.vec_normalize": "VecNormalize",
    "stable_baselines3.dqn.policies": f"DQNPolicy {_POLICIES}",
    "stable_baselines3.her.goal_selection_strategy": "GoalSelectionStrategy",
    "stable_baselines3.her.her_replay_buffer": "HerReplayBuffer",
    "stable_baselines3.sac.policies": f"SACPolicy {_POLICIES}",
    "stable_baselines3.td3.policies": f"TD3Policy {_POLICIES}",
    # -- sb3-contrib
    "sb3_contrib.ars.policies": "ARSPolicy ARSLinearPolicy LinearPolicy MlpPolicy",
    "sb3_contrib.common.maskable.buffers": "MaskableRolloutBuffer MaskableDictRolloutBuffer",
    "sb3_contrib.common.maskable.policies": (
        "MaskableActorCriticPolicy MaskableActorCriticCnnPolicy MaskableMultiInputActorCriticPolicy"
    ),
    "sb3_contrib.common.recurrent.buffers": "RecurrentRolloutBuffer RecurrentDictRolloutBuffer",
    "sb3_contrib.common.recurrent.policies": (
        "RecurrentActorCriticPolicy RecurrentActorCriticCnnPolicy "
        "RecurrentMultiInputActorCriticPolicy"
    ),
    "sb3_contrib.crossq.policies": "CrossQPolicy MlpPolicy",
    "sb3_contrib.qrdqn.policies": f"QRDQNPolicy {_POLICIES}",
    "sb3_contrib.tqc.policies": f"TQCPolicy {_POLICIES}",
}
for _package in ("gym", "gymnasium"):
    _BY_MODULE |= {
        f"{_package}.spaces.box": "Box",
        f"{_package}.spaces.dict": "Dict",
        f"{_package}.spaces.discrete": "Discrete",
        f"{_package}.spaces.graph": "Graph GraphInstance",
        f"{_package}.spaces.multi_binary": "MultiBinary",
        f"{_package}.spaces.multi_discrete": "MultiDiscrete",
        f"{_package}.spaces.oneof": "OneOf",
        f"{_package}.spaces.sequence": "Sequence",
        f"{_package}.spaces.text": "Text",
        f"{_package}.spaces.tuple": "Tuple",
    }
ALLOWED: dict[str, frozenset[str]] = {module: _words(names) for module, names in _BY_MODULE.items()}
"""Allowed qualified names by module."""

ALLOWED_IMPORTS = _words("math cmath numpy torch torch.nn gymnasium gym")
"""Modules whose mere import tells nothing: code in a pickle that computes takes them along."""

ARITHMETIC = _words(
    "float int bool abs min max pow round sum len range math cmath numpy np pi e inf exp log log2 "
    "log10 sqrt sin cos tan tanh floor ceil clip maximum minimum cosh sinh"
)
"""Names that code uses which only computes: built-in functions, and those of math and numpy."""

DANGEROUS_IN_CODE = _words(
    "exec eval compile open breakpoint __import__ __builtins__ __globals__ __subclasses__ __code__ "
    "os posix nt system popen Popen subprocess socket shutil ctypes pty importlib import_module "
    "pickle cloudpickle marshal runpy requests urllib"
)
"""Names that code uses which reaches beyond the program: files, processes, network, more code."""

_FILE_METHODS = (
    "chmod hardlink_to link_to mkdir open rename replace rmdir symlink_to touch unlink "
    "write_bytes write_text"
)
_PATH_METHODS = " ".join(
    f"{cls}.{method}"
    for cls in ("Path", "PosixPath", "WindowsPath")
    for method in _words(_FILE_METHODS)
)
ALSO_DANGEROUS: dict[str, frozenset[str]] = {
    module: _words(names)
    for module, names in {
        # They reach any module, any attribute, or call what they are given.
        "builtins": "__import__ input setattr delattr globals locals vars map filter",
        "importlib": "*",
        "importlib._bootstrap": "*",
        "functools": "reduce partialmethod",
        "_functools": "reduce",
        "itertools": "starmap",
        "operator": "call",
        "_operator": "call",
        "_frozen_importlib": "*",
        "_frozen_importlib_external": "*",
        "_imp": "*",
        "zipimport": "*",
        # They make code, or read a pickle that nobody has looked into.
        "marshal": "*",
        "codeop": "*",
        "cloudpickle": "load loads",
        "typing": "ForwardRef",
        "annotationlib": "ForwardRef",
        "dill": "*",
        "dill._dill": "*",
        "joblib": "*",
        "shelve": "*",
        "jsonpickle": "*",
        "torch.hub": "*",
        "torch.utils.cpp_extension": "*",
        "stable_baselines3.common.save_util": "*",
        # They start processes and threads, or write files.
        "_ctypes": "*",
        "_posixsubprocess": "*",
        "distutils.spawn": "*",
        "multiprocessing": "*",
        "concurrent.futures": "*",
        "threading": "*",
        "_thread": "*",
        "signal": "*",
        "atexit": "*",
        "tempfile": "*",
        "pathlib": _PATH_METHODS,
        "pathlib._local": _PATH_METHODS,
        "io": "open FileIO",
        "_io": "open",
        "codecs": "open",
        "fileinput": "*",
        "zipfile": "ZipFile PyZipFile",
        "sqlite3": "connect Connection",
        "_sqlite3": "connect Connection",
        "ftplib": "*",
        "smtplib": "*",
        "telnetlib": "*",
        "http.server": "*",
    }.items()
}
"""Dangerous names that picklescan 1.0 does not list; `*` stands for all of a module."""

DANGEROUS_IN_PACKAGE: dict[str, frozenset[str]] = {
    package: _words(names)
    for package, names in {
        # They run texts as code.
        "sympy": "sympify parse_expr lambdify",
        "pandas": "eval read_pickle to_pickle",
        "PIL": "eval unsafe_eval",
        # They read a pickle, import what a text names, or read and write files.
        "numpy": (
            "load save savez savez_compressed loadtxt savetxt genfromtxt fromfile memmap "
            "open_memmap tofile dump runstring"
        ),
        "torch": "load _exec_with_source _forward_from_src",
        "yaml": "unsafe_load unsafe_load_all UnsafeLoader",
        "gym": "make load load_env_creator",
        "gymnasium": "make make_vec load_env_creator",
        "stable_baselines3": "load",
        "sb3_contrib": "load",
    }.items()
}
"""Dangerous functions and methods of packages, whichever of their modules they are taken from."""
