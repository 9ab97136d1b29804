"""Microcontrollers by core, library and operating point; what the libraries' files may say."""

import pytest
from cost_builders import conv_work, plain_work

from fxsim import hwfiles
from fxsim.cost import mcu_targets
from fxsim.cost.estimate import estimate_work
from fxsim.cost.evidence import shipped
from fxsim.cost.mcu_library import Core, Library, compose, load_core, load_library
from fxsim.cost.profiles import Mcu, load
from fxsim.cost.quantity import constants
from fxsim.cost.toml import dump
from fxsim.errors import ProfileError
from fxsim.targets import describe_libraries, list_targets, load_target

CORES, LIBRARIES = sorted(mcu_targets.cores()), hwfiles.names("library")
PAIRS = [(c, n) for c in CORES for n in LIBRARIES if mcu_targets.runs(c, n)]


def mcu(name):
    profile = load_target(name).profile
    assert isinstance(profile, Mcu)
    return profile


@pytest.mark.parametrize(("core", "library"), PAIRS)
def test_every_core_with_every_library_that_runs_on_it(core, library):
    m = mcu(f"{core}+{library}")
    assert all(len(c.source) > 8 for _, c in constants(m))
    latency = m.error_band["latency"]
    assert m.evidence == latency.sentence()
    assert latency.rows == 0 or 0 < latency.median <= latency.p90
    exact = shipped("mcu").get(f"{core}+{library}", {}).get("latency")
    assert latency == exact if exact else latency.extrapolated or not latency.rows
    if not latency.rows:
        assert m.evidence.startswith("unvalidated")


def test_a_bare_core_is_the_core_with_its_own_library():
    assert mcu("cortex-m4") == mcu("cortex-m4+cmsis-nn")
    assert mcu("esp32-s3") == mcu("esp32-s3+esp-nn")
    assert set(CORES) < set(list_targets())


def test_cortex_m0_plus_by_its_own_name():
    assert mcu("cortex-m0+") == mcu("cortex-m0plus")
    assert mcu("cortex-m0++hale") == mcu("cortex-m0plus+hale-1.0.175")
    assert mcu("cortex-m0+@32MHz").clock.value == 32e6


def test_aliases_are_the_library():
    assert mcu("cortex-m4+x-cube-ai-10.2") == mcu("cortex-m4+x-cube-ai-9") == mcu("cortex-m4+x-cube-ai")
    assert mcu("cortex-m4+x-cube-ai-8.0") == mcu("cortex-m4+x-cube-ai-7")
    names = [a for n in LIBRARIES for a in (n, *load_library(hwfiles.find("library", n)).aliases)]
    assert len(names) == len(set(names))


def test_an_operating_point_changes_time_but_flash_keeps_its_speed():
    fast, slow = mcu("cortex-m4"), mcu("cortex-m4@60MHz@1.8V")
    assert (slow.name, slow.clock.value, slow.supply.value) == ("cortex-m4@60MHz@1.8V", 60e6, 1.8)
    assert slow.bytes_per_cycle["flash"] == 2 * fast.bytes_per_cycle["flash"]
    assert slow.bytes_per_cycle["sram"] == fast.bytes_per_cycle["sram"]
    assert slow.cycle_pj == pytest.approx(fast.cycle_pj * 1.8 / 3.0)
    a, b = (estimate_work(conv_work(), m) for m in (fast, slow))
    assert b.cycles < a.cycles and b.cycles / slow.clock.value > a.cycles / fast.clock.value
    assert mcu("cortex-m4@0.06GHz").clock.value == mcu("cortex-m4@60000kHz").clock.value == 60e6
    assert mcu("cortex-m4@1800mV").supply.value == pytest.approx(1.8)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cortex-m4+cmsis-mn", "no library 'cmsis-mn'; there are: .*did you mean 'cmsis-nn'"),
        ("cortex-m4@60", "got '@60'; allowed: one clock such as @80MHz"),
        ("cortex-m4@0MHz", "got '@0MHz'"),
        ("cortex-m4@60MHz@70MHz", "got '@70MHz'"),
        ("cortex-m4@-1V", "got '@-1V'"),
        ("gap8+cmsis-nn", "instruction set 'xpulp'; allowed: 'dsp', 'scalar', 'thumb1', 'mve'"),
        ("cortex-m44+cmsis-nn", "no target 'cortex-m44.cmsis-nn'"),
        ("cortex-m4+", "no target 'cortex-m4.'"),
    ],
)
def test_bad_names_say_what_is_allowed(name, message):
    with pytest.raises(ProfileError, match=message):
        load_target(name)


def test_instructions_become_cycles_by_hand():
    m = mcu("cortex-m7").kernel.conv
    # 0.375 loads and 0.6875 others at half a cycle, 0.5 multiplications at one
    assert m.mac.value == pytest.approx(0.375 * 0.5 + 0.5 + 0.6875 * 0.5)
    scale = load_library(hwfiles.find("library", "x-cube-ai-9")).scale.conv.value
    assert mcu("cortex-m7+x-cube-ai-9").kernel.conv.mac.value == pytest.approx(m.mac.value * scale, rel=1e-5)
    assert "0.375 load + 0.5 multiply + 0.6875 other" in m.mac.source and "cortex-m7" in m.mac.source


def test_cores_share_the_work_of_a_layer_but_not_its_call():
    one, eight = mcu("ri5cy").kernel, mcu("gap8").kernel
    assert eight.conv.mac.value == pytest.approx(one.conv.mac.value / 8)
    assert eight.conv.call.value == one.conv.call.value


@pytest.mark.parametrize("name", ["cortex-m4+x-cube-ai-9@60MHz", "gap8", "hexagon-680", "ti-c7x"])
def test_a_profile_survives_being_written_as_toml(name, tmp_path):
    profile = load_target(name).profile
    path = tmp_path / "again.toml"
    path.write_text(dump(profile), encoding="utf-8")
    assert load(path) == profile
    assert load_target(path).profile == profile


def test_a_core_of_ones_own_takes_the_library_it_names(tmp_path):
    text = hwfiles.find("mcu", "cortex-m4").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(text.replace('name = "cortex-m4"', 'name = "mine"').replace("value = 120,", "value = 60,"))
    mine = mcu(path)
    assert (mine.name, mine.clock.value) == ("mine", 60e6)
    assert mine.kernel.conv.mac.value == mcu("cortex-m4").kernel.conv.mac.value
    assert mine.evidence.startswith("unvalidated")
    path.write_text(text.replace('library = "cmsis-nn"', 'library = "none"'))
    with pytest.raises(ProfileError, match="no library 'none'"):
        load_target(path)


@pytest.mark.parametrize("name", LIBRARIES)
def test_factors_are_positive_and_say_where_they_come_from(name):
    library = load_library(hwfiles.find("library", name))
    for key, c in constants(library.scale):
        assert c.value > 0 and len(c.source) > 8, key
    assert bool(library.isa) != bool(library.base)
    assert library.name == name


def test_a_library_without_counts_or_base_is_refused():
    chosen = load_library(hwfiles.find("library", "onnc"))
    core = load_core(hwfiles.find("mcu", "cortex-m4"))
    lost = Library(name="lost", kind="library", description="", scale=chosen.scale, base="nowhere")
    with pytest.raises(ProfileError, match="base is 'nowhere'; allowed"):
        compose(core, lost, mcu_targets.libraries(), {})
    assert isinstance(core, Core)


def test_libraries_are_described():
    headings, rows = describe_libraries()
    assert [r[0] for r in rows] == LIBRARIES
    assert all(len(r) == len(headings) for r in rows)


@pytest.mark.parametrize("name", ["cortex-m0plus", "cortex-m4", "cortex-m85", "esp32-s3", "ri5cy"])
def test_narrow_types_cost_less_where_they_should(name):
    m = mcu(name)

    def cycles(**types):
        return estimate_work(conv_work(16, 16, 64, 64, 3, **types), m).cycles

    binary, int4, int8, int16 = (cycles(bits=a, weight_bits=w) for a, w in ((1, 1), (8, 4), (8, 8), (16, 8)))
    assert binary < int8 / 2  # 32 products a word
    assert int4 <= int8 < int16


def test_binary_words_by_hand():
    m = mcu("cortex-m4")
    e = estimate_work(conv_work(8, 8, 64, 8, 3, bits=1, weight_bits=1), m)
    k = m.kernel
    # 576 one-bit products are 18 words for each of 512 outputs; 64 * 18 words are gathered
    busy = (
        k.conv.call.value + k.conv.im2col.value * 64 * 18 + k.binary_word.value * 18 * 512 + k.conv.output.value * 512
    )
    assert e.compute_cycles == pytest.approx(busy, abs=1)
    assert e.scratch_bytes == 2 * 576 // 8


def test_weights_that_fit_the_cache_are_fetched_once():
    m7, m0 = mcu("cortex-m7"), mcu("cortex-m0plus")

    def weights(work, m):
        e = estimate_work(work, m)
        return sum(f.read_bytes for f in e.flows if f.tensor == "weights")

    small, large = conv_work(8, 8, 16, 16, 3), conv_work(8, 8, 64, 64, 3)
    assert weights(small, m7) == 16 * 144
    assert weights(large, m7) == 64 * 576 * 32  # 36 KiB > 16 KiB: once for each two of 64 pixels
    assert weights(small, m0) == 16 * 144 * 32


def test_softmax_and_addition_are_priced():
    for name in CORES:
        m = mcu(name)
        for kind in ("softmax", "elementwise", "lookup", "copy", "reduce"):
            assert estimate_work(plain_work(kind, 1000), m).cycles > 100
