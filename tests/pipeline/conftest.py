"""The subject, the corpus and the store of an uninterrupted collection."""

import pytest
from small_collection import content, lines, run


@pytest.fixture(scope="session")
def subject(fixtures):
    from neurolocal.subject import load_subject

    return load_subject(str(fixtures / "stories260k"))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "c.jsonl"
    path.write_text("\n".join(lines(40)))
    return path


@pytest.fixture(scope="session")
def whole(subject, corpus, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "s.h5"
    outcome = run(subject, corpus, path)
    assert outcome is not None
    assert outcome.complete
    assert outcome.rows > 40
    assert outcome.checkpoints == 1
    return path, content(path), outcome
