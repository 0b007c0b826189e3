"""What a script reaches without knowing a module: for every task the configuration, the run and two ways to train."""

import importlib
import inspect

import pytest

import neural
from neural.train.load import SOURCES


@pytest.mark.parametrize("task", SOURCES)
def test_every_task_is_reached_the_same_way(task: str) -> None:
    source = SOURCES[task]
    module = importlib.import_module(source.module)
    config = f"{task.capitalize()}Config"
    assert getattr(neural, source.run) is getattr(module, source.run)
    assert getattr(neural, config) is getattr(module, config)
    call, train = getattr(neural.train, task), module.train
    assert call is getattr(module, task)
    assert {"config", "steps", "minutes", "out", "overwrite", "progress"} <= set(inspect.signature(call).parameters)
    assert {"config", "out", "overwrite", "progress"} <= set(inspect.signature(train).parameters)
