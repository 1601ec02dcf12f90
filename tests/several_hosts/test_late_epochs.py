"""Which orders at the venues are those of a worker that had a successor already."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

OLD, NEW, FURTHER = "s1-5-1001-7-h0", "s1-5-1002-1-h0", "s1-5-1001-7-h1"


@pytest.fixture(scope="module")
def late_epochs():
    spec = spec_from_file_location("several_hosts", Path(__file__).with_name("__main__.py"))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.late_epochs


def orders(*names):
    return [{"client_id": f"tag-{name}"} for name in names]


def test_orders_of_epochs_that_grow_are_none(late_epochs):
    assert late_epochs(orders(OLD, NEW), "tag", [OLD, NEW]) == []


def test_an_order_that_was_approved_before_the_successor_began_is_late(late_epochs):
    found = late_epochs(orders(NEW, OLD), "tag", [OLD, NEW])
    assert found == [f"order tag-{OLD} came after one of epoch 1002"]


def test_an_order_that_risk_does_not_know_is_late(late_epochs):
    assert len(late_epochs(orders(NEW, FURTHER), "tag", [OLD, NEW])) == 1


def test_the_successor_continues_an_intent_under_its_name(late_epochs):
    assert late_epochs(orders(OLD, NEW, FURTHER), "tag", [OLD, NEW, FURTHER]) == []


def test_a_name_without_a_worker_is_found(late_epochs):
    assert late_epochs(orders("x"), "tag", []) == ["order tag-x names no worker"]
