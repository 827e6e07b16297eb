"""Fits in an object store: what one machine puts there another fetches and checks. The store is moto's server on this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from rung.errors import RungError
from rung.lm.base import ModelRef
from rung.predictor import Predictor
from rung.store import Store
from rung.store.address import Address, parse
from rung.store.objects import Objects

pytest.importorskip("sqlalchemy")
moto = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[server,s3]'")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it prints every request
    made = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    made.start()
    host, port = made.get_host_and_port()
    yield f"http://{host}:{port}"
    made.stop()


@pytest.fixture
def place(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A folder of a new bucket, in a process whose environment has the keys."""
    import boto3

    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**keys, "AWS_ENDPOINT_URL": server, "NO_PROXY": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    bucket = request.node.name.replace("_", "-")[-40:].strip("-")
    boto3.client("s3", endpoint_url=server).create_bucket(Bucket=bucket)
    return f"s3://{bucket}/rung"


def stored(place: str, name: str) -> bytes:
    import boto3

    bucket, _, folder = place.removeprefix("s3://").partition("/")
    return boto3.client("s3").get_object(Bucket=bucket, Key=f"{folder}/{name[:2]}/{name}")["Body"].read()


def fitted(folder: Path) -> Predictor:
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "rows.json").write_text("[1]")
    model = ModelRef("rule", "majority", "", str(folder / "model"), "d")
    return Predictor(kind="classify", model=model, instruction="Sort.", labels=("a", "b"))


def test_a_fit_in_a_bucket_is_fetched_on_another_machine_and_checked(place: str, tmp_path: Path) -> None:
    import boto3

    address = parse(f"sqlite:///{tmp_path}/store.sqlite?files={place}", "t")
    assert isinstance(address, Address)
    one, two = (Store(tmp_path / name, lambda text: pytest.fail(text), address) for name in ("one", "two"))
    with one.lease("fits/k"):
        made = one.keep_fit("k", fitted(one.workplace("k")), {"seconds": 2.0})
    found = two.fitted("k")
    assert found and found.digest == made.digest and (Path(found.model.files) / "rows.json").read_text() == "[1]"
    bucket, _, folder = place.removeprefix("s3://").partition("/")
    s3, said = boto3.client("s3"), list[str]()
    for one_of in s3.list_objects_v2(Bucket=bucket, Prefix=folder)["Contents"]:
        s3.put_object(Bucket=bucket, Key=one_of["Key"], Body=b"changed")
    assert Store(tmp_path / "three", said.append, address).fitted("k") is None and "not at" in said[0]


def test_an_object_is_written_once_and_again_where_it_is_damaged(place: str, tmp_path: Path) -> None:
    import hashlib

    import boto3

    objects, source = Objects(place), tmp_path / "file"
    source.write_bytes(bytes(3 * 2**20))
    name = hashlib.sha256(source.read_bytes()).hexdigest()
    assert not objects.fetch(name, tmp_path / "none") and not (tmp_path / "none").exists()
    objects.put(source, name)
    assert stored(place, name) == source.read_bytes() and objects.fetch(name, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    bucket, _, folder = place.removeprefix("s3://").partition("/")
    boto3.client("s3").put_object(Bucket=bucket, Key=f"{folder}/{name[:2]}/{name}", Body=b"cut")
    assert not objects.fetch(name, tmp_path / "cut")
    objects.put(source, name)
    assert stored(place, name) == source.read_bytes()


def test_a_bucket_that_is_not_there_is_named(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RungError, match="place of fits cannot be used") as found:
        Objects("s3://there-is-no-such-bucket/rung").put(tmp_path / "file", "ab" * 32)
    assert "AWS_ENDPOINT_URL" in found.value.remedy and found.value.where.startswith("s3://")
