"""The energy of counters in a folder like that of Linux."""

from __future__ import annotations

import pytest

from hf_reprogram.costs import Meter, Rapl

MOST = 1_000_000


@pytest.fixture
def zones(tmp_path):
    """A function that writes a counter; a package, its core and its memory stand at 900,000, 500 and 100 of 1,000,000."""

    def write(zone, energy, name=None):
        folder = tmp_path / zone
        folder.mkdir(exist_ok=True)
        (folder / "energy_uj").write_text(f"{energy}\n")
        if name is not None:
            (folder / "name").write_text(f"{name}\n")
            (folder / "max_energy_range_uj").write_text(f"{MOST}\n")

    write("intel-rapl:0", 900_000, "package-0")
    write("intel-rapl:0:0", 500, "core")
    write("intel-rapl:0:1", 100, "dram")
    write("intel-rapl:1", 7, "psys")
    write("intel-rapl-mmio:0", 900_000, "package-0")
    write.folder = tmp_path
    return write


def test_a_package_and_its_memory_are_summed_and_what_is_within_them_is_not(zones):
    rapl = Rapl(zones.folder)
    zones("intel-rapl:0", 950_000)
    zones("intel-rapl:0:0", 40_000)
    zones("intel-rapl:0:1", 10_100)
    zones("intel-rapl:1", 90_000)
    rapl.sample()
    assert rapl.joules() == pytest.approx(0.06)


def test_a_counter_that_starts_again_is_followed(zones):
    rapl = Rapl(zones.folder)
    for energy in (100_000, 700_000, 50_000):  # twice beyond the largest value
        zones("intel-rapl:0", energy)
        rapl.sample()
    assert rapl.joules() == pytest.approx((200_000 + 600_000 + 350_000) / 1e6)


def test_nothing_is_known_without_counters(tmp_path):
    rapl = Rapl(tmp_path)
    rapl.sample()
    assert not rapl.readable
    assert rapl.joules() is None


@pytest.mark.parametrize("content", [None, "no number"])
@pytest.mark.parametrize("file", ["energy_uj", "max_energy_range_uj", "name"])
def test_a_counter_that_cannot_be_read_gives_no_energy_at_all(file, content, zones):
    path = zones.folder / "intel-rapl:0" / file
    path.unlink()
    if content is None:
        path.mkdir()  # an OSError, also for root
    elif file != "name":
        path.write_text(content)
    assert not Rapl(zones.folder).readable


def test_a_counter_that_goes_away_leaves_no_half_sum(zones):
    rapl = Rapl(zones.folder)
    (zones.folder / "intel-rapl:0" / "energy_uj").unlink()
    rapl.sample()
    zones("intel-rapl:0", 950_000)
    rapl.sample()
    assert rapl.joules() is None


def test_a_meter_follows_a_counter_that_starts_again_within_its_block(zones):
    class Counted(Rapl):
        """Adds 600,000 microjoules to the package after every reading but the first."""

        count = 900_000

        def sample(self):
            self.count = (self.count + 600_000) % MOST
            zones("intel-rapl:0", self.count)
            super().sample()
            self.samples = getattr(self, "samples", 0) + 1

    rapl = Counted(zones.folder)
    with Meter(rapl, every=0.001) as meter:
        while getattr(rapl, "samples", 0) < 4:
            pass
    assert meter.joules == pytest.approx(rapl.samples * 0.6)


def test_a_meter_without_counters_knows_time_and_memory(tmp_path):
    with pytest.raises(KeyError), Meter(Rapl(tmp_path)) as meter:
        raise KeyError
    assert meter.joules is None
    assert meter.seconds > 0
    assert meter.memory["process"] > 2**20
