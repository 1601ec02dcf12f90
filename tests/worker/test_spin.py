"""Looking for more goes on as long as more comes, and is given up for longer and longer when it does not."""

from arbshard.worker.spin import Spin


def test_off():
    spin = Spin(0)
    assert [spin.duration_ns() for _ in range(3)] == [0, 0, 0]


def test_goes_on_while_something_comes():
    spin = Spin(500)
    for _ in range(5):
        assert spin.duration_ns() == 500
        spin.looked(found=True)


def test_in_vain_it_waits_longer_each_time_but_not_for_ever():
    spin = Spin(500)
    waited = []
    for _ in range(8):
        passes = 0
        while not spin.duration_ns():
            passes += 1
        waited.append(passes)
        spin.looked(found=False)
    assert waited == [0, 2, 4, 8, 16, 32, 64, 64]
    while not spin.duration_ns():
        pass
    spin.looked(found=True)
    assert spin.duration_ns() == 500
