"""Searches in English: which phrases are known, and that no word is dropped in silence."""

import pytest

from mstore.catalog.english import understand
from mstore.catalog.syntax import QueryError

SENTENCES = {
    "Object detection model on imagenet dataset with accuracy>90% and memory footprint<100MB and "
    "can perform inference on a 1GHz processor": "task = 'object-detection' and "
    "dataset = 'imagenet' and accuracy > 0.9 and memory < 100 MB and runs on 1 GHz",
    "image classification models with accuracy of at least 75%": (
        "task = 'image-classification' and accuracy >= 0.75"
    ),
    "models trained on coco with latency under 20 ms": "dataset = 'coco' and latency < 20 ms",
    "PyTorch models fine-tuned from resnet18 by ann": (
        "framework = 'pytorch' and derived from 'resnet18' and author = 'ann'"
    ),
    "model with fewer than 10M parameters": "",
    "question answering since 2026-11-01, newest first": (
        "task = 'question-answering' and time >= '2026-11-01' order by time desc"
    ),
    "best val/accuracy": "order by val/accuracy desc",
    "best val/loss": "order by val/loss",
    "runs on a 500 MHz CPU within 2 s": "runs on 500 MHz within 2 s",
}


@pytest.mark.parametrize("text", [text for text, query in SENTENCES.items() if query])
def test_a_sentence_becomes_a_query(text: str) -> None:
    """What a sentence says is a query, and every word of it was understood."""
    query, language, strange = understand(text)
    assert (str(query), language, strange) == (SENTENCES[text], "english", ())


def test_words_that_say_nothing_are_named() -> None:
    """A word that no phrase has is named, in order, and changes nothing."""
    query, language, strange = understand("fast and shiny object detection model for phones")
    assert str(query) == "task = 'object-detection'"
    assert (language, strange) == ("english", ("fast", "shiny", "phones"))


def test_words_alone_are_searched_for() -> None:
    """A text in which nothing is understood is searched for as words."""
    query, language, strange = understand("mobile resnet")
    assert (str(query), language, strange) == ("~ 'mobile resnet'", "words", ())


def test_a_text_without_a_word_is_refused() -> None:
    """A text of nothing but glue and signs says so."""
    for text in ("", "the model", "...;;"):
        with pytest.raises(QueryError):
            understand(text)
