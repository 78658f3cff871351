"""Shared volumes: how they are configured, and where a file lies in one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jupyter_rtc_amprenta.core.volumes import (
    SharedVolume,
    VolumePath,
    file_key,
    find_under,
    for_servers,
    parse,
    place_of,
)
from jupyter_rtc_amprenta.mounts import Mounts

TEXT = '{"team": {"path": "/srv/team", "groups": ["team", "leads"]}, "open": {"groups": ["all"]}}'


def test_volumes_have_a_name_a_path_and_groups() -> None:
    assert parse(TEXT) == {
        "team": SharedVolume("team", "/srv/team", ("team", "leads")),
        "open": SharedVolume("open", "", ("all",)),
    }
    assert parse("") == {}


def test_servers_are_not_told_the_groups() -> None:
    assert json.loads(for_servers(TEXT)) == {"team": {"path": "/srv/team"}, "open": {"path": ""}}


@pytest.fixture
def volumes(tmp_path: Path) -> dict[str, SharedVolume]:
    for folder in ("mnt/team/sub", "mnt/team/inner", "home"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "home" / "Team").symlink_to(tmp_path / "mnt" / "team")
    return {
        "team": SharedVolume("team", str(tmp_path / "mnt" / "team"), ()),
        "inner": SharedVolume("inner", str(tmp_path / "mnt" / "team" / "inner"), ()),
        "elsewhere": SharedVolume("elsewhere", "", ()),
    }


def test_a_file_is_found_by_whatever_link_it_is_reached(
    tmp_path: Path, volumes: dict[str, SharedVolume]
) -> None:
    known = volumes.values()
    assert place_of(tmp_path / "home/Team/sub/x.txt", known) == VolumePath("team", "sub/x.txt")
    assert place_of(tmp_path / "mnt/team/x.txt", known) == VolumePath("team", "x.txt")
    (tmp_path / "home" / "one.txt").symlink_to(tmp_path / "mnt/team/sub/x.txt")
    assert place_of(tmp_path / "home/one.txt", known) == VolumePath("team", "sub/x.txt")


def test_of_volumes_within_one_another_the_inner_one_counts(
    tmp_path: Path, volumes: dict[str, SharedVolume]
) -> None:
    assert place_of(tmp_path / "home/Team/inner/x.txt", volumes.values()) == VolumePath("inner", "x.txt")


def test_what_is_beside_a_volume_is_not_on_it(tmp_path: Path, volumes: dict[str, SharedVolume]) -> None:
    assert place_of(tmp_path / "home/x.txt", volumes.values()) is None
    (tmp_path / "mnt" / "team2").mkdir()
    assert place_of(tmp_path / "mnt/team2/x.txt", volumes.values()) is None
    assert place_of(tmp_path / "home/Team/../x.txt", volumes.values()) is None


def test_a_server_finds_a_volume_under_its_root_or_by_a_link_in_it(
    tmp_path: Path, volumes: dict[str, SharedVolume]
) -> None:
    place = VolumePath("team", "sub/x.txt")
    assert find_under(tmp_path / "home", place, volumes) == "Team/sub/x.txt"
    assert find_under(tmp_path, place, volumes) == "mnt/team/sub/x.txt"
    (tmp_path / "empty").mkdir()
    assert find_under(tmp_path / "empty", place, volumes) is None
    assert find_under(tmp_path / "home", VolumePath("elsewhere", "x"), volumes) is None


def test_long_paths_and_rooms_of_different_kinds_have_keys_of_their_own() -> None:
    keys = {
        file_key(kind, path) for kind in ("text:file", "json:notebook") for path in ("a", "b", "c" * 4000)
    }
    assert len(keys) == 6
    assert max(map(len, keys)) <= 200


def test_other_servers_have_what_is_on_a_volume_and_in_a_home_only_where_there_are_several(
    tmp_path: Path, volumes: dict[str, SharedVolume]
) -> None:
    for alone in (True, False):
        mounts = Mounts(tmp_path / "home", "abc", volumes, alone)
        assert (mounts.of("x.txt").name, mounts.of("x.txt").agreed) == ("home:abc", not alone)
        assert (mounts.of("Team/x.txt").name, mounts.of("Team/x.txt").agreed) == ("volume:team", True)
