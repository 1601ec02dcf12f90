"""Files that only their owner can read."""

from arbshard.private_files import open_private, tighten


def test_a_wider_mode_is_tightened_when_it_is_opened(tmp_path):
    path = tmp_path / "file"
    path.write_text("before ")
    path.chmod(0o666)
    with open_private(path, "a") as file:
        file.write("after")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("before after", 0o600)


def test_what_a_link_leads_to_is_left_alone(tmp_path):
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    ours.mkdir(mode=0o700)
    theirs.write_text("")
    theirs.chmod(0o644)
    (ours / "link").symlink_to(theirs)
    assert tighten(ours) == []
    assert theirs.stat().st_mode & 0o777 == 0o644


def test_what_was_changed_is_named_once(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    folder.chmod(0o750)
    (folder / "a").write_text("")
    (folder / "a").chmod(0o640)
    assert tighten(folder) == [f"{folder} (mode 750)", f"{folder / 'a'} (mode 640)"]
    assert tighten(folder) == []
