"""Numerics profiles: what ships, what a user's file may say, and what is refused with which words."""

import pytest

import fxsim
from fxsim.errors import ProfileError


def write(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


def test_shipped_profiles_differ_where_the_engines_do():
    ref, tflm = fxsim.load_numerics("litert-reference"), fxsim.load_numerics("tflm")
    assert ref.of("FULLY_CONNECTED").requantize.scheme == "float64"
    assert tflm.of("FULLY_CONNECTED").requantize.scheme == "double_rounding"
    assert (ref.of("MUL").requantize.chain, tflm.of("MUL").requantize.chain) == ("float32", "float64")
    assert ref.of("CONV_2D", "uint8").requantize.chain == "float32_product", "which only LiteRT has"
    assert tflm.of("CONV_2D", "uint8") == tflm.of("CONV_2D")
    for key in ("scheme", "rounding", "chain", "chain_per_channel"):
        assert getattr(ref.of("CONV_2D").requantize, key) == getattr(tflm.of("CONV_2D").requantize, key)
    assert ref.of("LOGISTIC").variant != tflm.of("LOGISTIC").variant
    assert ref.verified == tflm.verified == "live"


def test_a_users_file_starts_from_a_base(tmp_path):
    mine = fxsim.load_numerics(write(tmp_path, 'base = "litert-reference"\n[accumulator]\nbits = 24\n'))
    assert (mine.name, mine.verified, mine.against) == ("mine", "none", ""), "a changed engine is not the verified one"
    for op in ("CONV_2D", "FULLY_CONNECTED", "MEAN"):
        assert mine.of(op).accumulator.bits == 24
    assert mine.of("FULLY_CONNECTED").requantize.scheme == "float64", "what the file does not say stays"


def test_what_a_file_says_of_all_ops_holds_for_all(tmp_path):
    text = 'base = "litert-reference"\n[requantize]\nscheme = "single_rounding"\nrounding = "ties_pos"\n'
    mine = fxsim.load_numerics(write(tmp_path, text))
    assert {mine.of(op).requantize.scheme for op in ("CONV_2D", "FULLY_CONNECTED", "ADD")} == {"single_rounding"}
    text += '[ops.FULLY_CONNECTED]\nrequantize = { scheme = "float64" }\naccumulator = { bits = 20, overflow = "saturate" }\n'
    mine = fxsim.load_numerics(write(tmp_path, text))
    assert mine.of("FULLY_CONNECTED").requantize.scheme == "float64"
    assert mine.of("FULLY_CONNECTED").requantize.rounding == "ties_pos"
    assert (mine.of("FULLY_CONNECTED").accumulator.bits, mine.of("CONV_2D").accumulator.bits) == (20, 32)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[accumulator]\nbit = 24\n",
            r"mine.toml: .*unknown field `bit`.*accumulator.*allowed keys: 'bits', 'overflow', 'order'",
        ),
        ("[accumulator]\nbits = 65\n", r"bits is 65; allowed: 2..64"),
        ("[accumulator]\nbits = 1\n", r"bits is 1; allowed: 2..64"),
        ('[accumulator]\norder = "tree"\n', r"lanes is 0 with order 'tree'; allowed: 2.."),
        ('[accumulator]\nproduct_rounding = "half"\n', r"product_rounding is 'half'; allowed: 'to_neg'"),
        ('[accumulator]\nbits = "many"\n', r"Expected `int`, got `str`.*accumulator.bits"),
        (
            '[accumulator]\noverflow = "saturates"\n',
            r"overflow is 'saturates'; allowed: 'wrap', 'saturate'; did you mean 'saturate'",
        ),
        ('[accumulator]\norder = "random"\n', r"order"),
        ('[requantize]\nrounding = "half_up"\n', r"rounding is 'half_up'; allowed: 'to_neg'"),
        ('[requantize]\nscheme = "triple"\n', r"scheme is 'triple'"),
        ("[requantize]\nlanes = -1\n", r"lanes is -1; allowed: 0..1048576"),
        ('[requantize]\ntail = "half_up"\n', r"tail is 'half_up'; allowed: 'to_neg'"),
        ('[requantize]\nbound = "floor"\n', r"bound"),
        ('[ops.CONV2D]\nvariant = "x"\n', r"ops.CONV2D: no such op; did you mean 'CONV_2D'"),
        (
            '[ops.CONV_2D]\nvarient = "x"\n',
            r"unknown field `varient`.*allowed keys: 'accumulator', 'requantize', 'variant'",
        ),
        ('colour = "red"\n', r"unknown field `colour`.*allowed keys: 'name'"),
        ('base = "nothing"\n', r"no numerics profile 'nothing'"),
        ("base = 3\n", r"base is 3"),
        ("bits = = 3", r"is not TOML"),
        ('verified = "surely"\n', r"verified"),
        ("accumulator = 3\n", r"Expected `object`|accumulator"),
        ("ops = 3\n", r"ops"),
    ],
)
def test_refusals(tmp_path, text, message):
    with pytest.raises(ProfileError, match=message):
        fxsim.load_numerics(write(tmp_path, text))


def test_unknown_names_and_files(tmp_path):
    with pytest.raises(ProfileError, match=r"no numerics profile 'litert'; there are: .*'litert-reference', .*'tflm'"):
        fxsim.load_numerics("litert")
    with pytest.raises(ProfileError, match="cannot be read"):
        fxsim.load_numerics(str(tmp_path / "none.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProfileError, match="is not TOML"):
        fxsim.load_numerics(str(tmp_path / "binary.toml"))


def test_an_unknown_variant_is_an_error_of_the_profile(tmp_path, corpus):
    model = fxsim.read(corpus / "models" / "autoencoder.tflite")
    path = write(tmp_path, 'base = "tflm"\n[ops.LOGISTIC]\nvariant = "taylor"\n')
    import numpy as np

    with pytest.raises(ProfileError, match=r"LOGISTIC.*variant is 'taylor'; allowed: 'float_table', 'fixed_point'"):
        fxsim.simulate(model, np.zeros(model.tensors[model.inputs[0]].shape, np.float32), path)


def test_settings_of_a_type_stand_over_those_of_the_op(tmp_path):
    text = '[requantize]\nrounding = "ties_pos"\n[ops.CONV_2D]\nrequantize = { scheme = "single_rounding" }\n'
    mine = fxsim.load_numerics(write(tmp_path, text + '[ops."CONV_2D:uint8"]\nrequantize = { chain = "float32" }\n'))
    general, special = mine.of("CONV_2D", "int8").requantize, mine.of("CONV_2D", "uint8").requantize
    assert (general.scheme, general.rounding, general.chain) == ("single_rounding", "ties_pos", "float64")
    assert (special.scheme, special.rounding, special.chain) == ("single_rounding", "ties_pos", "float32")
    with pytest.raises(ProfileError, match="no such type; allowed: "):
        fxsim.load_numerics(write(tmp_path, '[ops."CONV_2D:int9"]\nvariant = "x"\n'))


def test_what_a_file_says_of_an_op_holds_for_all_its_types(tmp_path):
    text = 'base = "litert-reference"\n[ops.CONV_2D]\nrequantize = { chain = "float64" }\n'
    assert fxsim.load_numerics(write(tmp_path, text)).of("CONV_2D", "uint8").requantize.chain == "float64"


def test_a_delegate_has_settings_of_its_own(tmp_path):
    text = '[delegate]\nname = "xnnpack"\n[delegate.ops.CONV_2D]\nrequantize = { scheme = "float32" }\n'
    mine = fxsim.load_numerics(write(tmp_path, text))
    assert mine.of("CONV_2D", delegated=True).requantize.scheme == "float32"
    assert mine.of("CONV_2D").requantize.scheme == "double_rounding"
    with pytest.raises(ProfileError, match="delegate"):
        fxsim.load_numerics(write(tmp_path, '[delegate]\nname = "nobody"\n'))
    with pytest.raises(ProfileError, match=r"delegate.ops.CONV_3D: no such op"):
        fxsim.load_numerics(write(tmp_path, text.replace("CONV_2D", "CONV_3D")))
