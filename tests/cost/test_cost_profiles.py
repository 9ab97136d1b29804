import re
from pathlib import Path

import pytest

from fxsim import hwfiles
from fxsim.cost import quantity
from fxsim.cost.profiles import Accelerator, Dsp, Mcu, Npu
from fxsim.cost.quantity import constants
from fxsim.cost.technology import Technology
from fxsim.errors import ProfileError
from fxsim.targets import list_targets, load_target

SHIPPED = [(k, n) for k in ("npu", "dsp", "mcu") for n in hwfiles.names(k)]


PLAIN = Path(__file__).parent / "plain-mcu.toml"
"""a microcontroller without core and library, as a user may write one"""


def text_of(kind, name):
    if kind == "mcu":
        return PLAIN.read_text(encoding="utf-8")
    return hwfiles.find(kind, name).read_text(encoding="utf-8")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("kind", "name"), SHIPPED)
def test_every_shipped_constant_has_a_value_a_unit_and_a_public_source(kind, name):
    profile = load_target(name).profile
    assert profile.name == name and profile.evidence and profile.technology
    entries = constants(profile)
    assert len(entries) > 20
    for key, c in entries:
        assert len(c.source) > 8, key
        assert not re.search(r"/work|shared/|\.csv|PLACEHOLDER|\bFIT\b|TODO", c.source), key


@pytest.mark.parametrize(("kind", "name"), SHIPPED)
def test_no_bare_number_hides_in_a_profile(kind, name):
    import tomllib

    def bare(node, path=""):
        if isinstance(node, dict):
            return [p for k, v in node.items() if not ("unit" in node and k == "value") for p in bare(v, f"{path}.{k}")]
        return [path] if isinstance(node, int | float) else []

    assert bare(tomllib.loads(text_of(kind, name))) == []


def test_values_are_converted_to_base_units():
    m4 = load_target(PLAIN).profile
    assert isinstance(m4, Mcu)
    assert (m4.clock.value, m4.clock.unit) == (120e6, "Hz")
    assert m4.memory["sram"].size.value == 640 * 1024
    assert m4.cycle_pj == pytest.approx(110e-12 * 3.0 * 1e12)  # 110 uA/MHz = 110e-12 A/Hz, at 3 V: 330 pJ
    u55 = load_target("ethos-u55-128").profile
    assert isinstance(u55, Npu)
    # 4e9 and 0.5e9 B/s at 500 MHz
    assert u55.bytes_per_cycle == {"sram": pytest.approx(8.0), "flash": pytest.approx(1.0)}
    assert u55.idle_power.value == pytest.approx(0.005)


ROLE = r'holds = \["constants"\]'
BAD = {
    "misspelt key": (r"^clock = ", "clokc = ", ["key clokc", "unknown", "120", "did you mean 'clock'"]),
    "misspelt nested key": (r"^wide_factor = ", "wide_facto = ", ["key kernel.wide_facto", "'wide_factor'"]),
    "unknown key in a constant": (r"(clock = \{)", r"\1 typical = 3,", ["key clock.typical", "'value'"]),
    "missing unit": (r'(clock = \{ value = 120), unit = "MHz"', r"\1", ["key clock.unit", "missing"]),
    "missing source": (r'(clock = \{.*?"MHz"), source = ".*?"', r"\1", ["key clock.source", "missing"]),
    "empty source": (r'(clock = \{.*?source = )".*?"', r'\1" "', ["key clock.source", "where the value comes from"]),
    "missing key": (r"^clock = .*$", "", ["key clock", "missing"]),
    "missing table": (r"^\[kernel\.copy\][\s\S]*\Z", "", ["key kernel.copy", "missing"]),
    "wrong unit": (r'"MHz"', '"mhz"', ["key clock.unit", "'mhz'", "'Hz'", "'MHz'"]),
    "unit of something else": (r'"A/Hz"|"uA/MHz"', '"W"', ["key active_current.unit", "'W'", "'uA/MHz'"]),
    "bare number": (r"clock = \{.*\}", "clock = 120", ["key clock", "120", "a table"]),
    "text as value": (r"clock = \{ value = 120", 'clock = { value = "120"', ["key clock.value", "'120'", "float"]),
    "truth as value": (r"clock = \{ value = 120", "clock = { value = true", ["key clock.value", "True", "float"]),
    "zero bandwidth": (r"value = 2\.667", "value = 0", ["key memory.flash.bandwidth.value", "got 0", "above 0"]),
    "negative cycles": (r"value = 1500", "value = -1", ["key kernel.conv.call.value", "got -1", "at least 0"]),
    "infinite": (r"value = 1500", "value = inf", ["key kernel.conv.call.value", "inf", "finite"]),
    "not a number": (r"value = 1500", "value = nan", ["key kernel.conv.call.value", "nan", "finite"]),
    "part of a byte": (r'640, unit = "KiB"', '1.5, unit = "B"', ["key memory.sram.size.value", "whole"]),
    "faster than peak": (r"= 1\.62", "= 0.1", ["key kernel.conv.mac", "10 MAC/cycle", "peak_macs = 2"]),
    "unknown role": (r'holds = \["activations"\]', 'holds = ["everything"]', ["memory", "holds", "everything"]),
    "two holders": (ROLE, 'holds = ["activations", "constants"]', ["2 memories hold activations"]),
    "no holder": (ROLE, 'holds = ["cache"]', ["0 memories hold constants", "exactly 1"]),
    "reserved memory name": (r"\[memory\.sram\]", "[memory.idle]", ["key memory.idle", "'idle'", "lower-case"]),
    "upper-case memory name": (r"\[memory\.sram\]", "[memory.SRAM]", ["key memory.SRAM"]),
    "unknown kind": (r'kind = "mcu"', 'kind = "gpu"', ["key kind", "'gpu'", "'dsp', 'mcu', 'npu'"]),
    "no kind": (r'kind = "mcu"', "", ["key kind", "None"]),
    "not TOML": (r"^clock = ", "clock == ", ["not TOML"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_profile_is_refused_with_file_key_value_and_what_is_allowed(case, tmp_path):
    pattern, replacement, expected = BAD[case]
    text, n = re.subn(pattern, replacement, text_of("mcu", "cortex-m4"), count=1, flags=re.M)
    assert n == 1, "the case does not change the profile"
    path = written(tmp_path, text)
    with pytest.raises(ProfileError) as caught:
        load_target(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    for part in expected:
        assert part in message


def test_negative_energy_is_refused(tmp_path):
    text = text_of("npu", "ethos-u55-128").replace('value = 0.3, unit = "pJ/MAC"', 'value = -0.3, unit = "pJ/MAC"')
    with pytest.raises(ProfileError, match=r"key mac_energy.value: got -0.3 pJ/MAC; allowed: .* at least 0"):
        load_target(written(tmp_path, text))


@pytest.mark.parametrize(
    ("family", "old", "new", "key"),
    [
        ("npu/ethos-u55-128", "pixel_pass = { value = 4", "pixel_pass = { value = 2", "array.pixel_pass"),
        ("dsp/hexagon-680", "mac_depth = { value = 4", "mac_depth = { value = 12", "vector.mac_depth"),
    ],
)
def test_accelerators_cannot_beat_their_peak(family, old, new, key, tmp_path):
    text = text_of(*family.split("/"))
    assert old in text
    with pytest.raises(ProfileError, match=rf"key {re.escape(key)}: got .* at most peak_macs"):
        load_target(written(tmp_path, text.replace(old, new)))


def test_host_must_be_an_mcu(tmp_path):
    text = text_of("npu", "ethos-u55-128")
    with pytest.raises(ProfileError, match=r"no mcu profile 'cortex-m44'; there are: .*did you mean 'cortex-m4'"):
        load_target(written(tmp_path, text.replace('host = "cortex-m4"', 'host = "cortex-m44"')))
    (tmp_path / "other.toml").write_text(text_of("dsp", "hexagon-680"), encoding="utf-8")
    with pytest.raises(ProfileError, match=r"key host: got 'other.toml', a dsp; allowed: an mcu profile"):
        load_target(written(tmp_path, text.replace('host = "cortex-m4"', 'host = "other.toml"')))


def test_unreadable_profile(tmp_path):
    with pytest.raises(ProfileError, match="cannot be read"):
        load_target(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(ProfileError, match="cannot be read"):
        load_target(tmp_path / "latin.toml")


def test_targets_by_name():
    assert list_targets() == sorted(n for _, n in SHIPPED)
    kinds = {"npu": Accelerator, "dsp": Dsp, "mcu": Mcu}
    for kind, name in SHIPPED:
        target = load_target(name)
        assert isinstance(target.profile, kinds[kind])
        assert target.name == name
        assert (target.host is not None) == (kind == "npu")


def test_unknown_target_lists_all_and_the_nearest():
    with pytest.raises(ProfileError) as caught:
        load_target("cortex-m44")
    message = str(caught.value)
    assert all(repr(n) in message for n in list_targets())
    assert "did you mean 'cortex-m4'?" in message
    with pytest.raises(ProfileError) as caught:
        load_target("zzzzzz")
    assert "did you mean" not in str(caught.value)


def test_user_profile_by_path(tmp_path):
    text = text_of("mcu", "cortex-m4").replace('name = "cortex-m4"', 'name = "mine"')
    assert load_target(str(written(tmp_path, text))).name == "mine"


def test_hwfiles_refuses_unknown_kinds_and_paths():
    with pytest.raises(ProfileError, match="no profile kind 'gpu'; allowed: 'numerics', 'npu', 'dsp', 'mcu'"):
        hwfiles.names("gpu")
    with pytest.raises(ProfileError, match=r"no mcu profile"):
        hwfiles.find("mcu", "../mcu/cortex-m4")
    assert hwfiles.profile_dir().is_dir()


ARRAY, HVX = "npu/systolic-32x32-os", "dsp/hexagon-680"
BAD_ELSEWHERE = (
    (HVX, '512, unit = "KiB"', '767, unit = "B"', "key memory.l2.size: got 767 B; allowed: at least 768 B"),
    (ARRAY, '64, unit = "KiB"', '32, unit = "B"', "key memory.ifmap.size: got 32 B; allowed: at least 64 B"),
    (HVX, '256, unit = "B/cycle"', '0, unit = "B/cycle"', "key memory.l2.bandwidth.value: got 0"),
    (ARRAY, '162.5, unit = "pJ/B"', '-1, unit = "pJ/B"', "key memory.dram.read_energy.value: got -1"),
    (ARRAY, '5, unit = "mW"', "5", "key idle_power.unit: missing"),
    (ARRAY, 'dataflow = "os"', 'dataflow = "rs"', "key dataflow: got 'rs'"),
    ("technology/7nm", "add8", "add9", "key add9: unknown"),
)


@pytest.mark.parametrize(("file", "old", "new", "message"), BAD_ELSEWHERE)
def test_bad_profiles_of_the_other_families(file, old, new, message, tmp_path):
    """Memories that nothing fits into, zero bandwidth, negative energy, missing units, unknown keys."""
    kind, name = file.split("/")
    text = hwfiles.find(kind, name).read_text(encoding="utf-8")
    assert old in text
    path = written(tmp_path, text.replace(old, new, 1))
    with pytest.raises(ProfileError) as caught:
        quantity.decode(path, {"technology": Technology}) if kind == "technology" else load_target(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_microcontroller_without_room_for_anything_is_refused(tmp_path):
    text = text_of("mcu", "cortex-m4").replace('value = 640, unit = "KiB"', 'value = 63, unit = "B"')
    with pytest.raises(ProfileError, match=r"key memory\.sram\.size: got 63 B; allowed: at least 64 B"):
        load_target(written(tmp_path, text))
