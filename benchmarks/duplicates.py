"""Near-duplicate identities: marks of 10,000 builtin people, and the reference implementation on the first of them.

    python benchmarks/duplicates.py [--json] [--out benchmarks/results/duplicates.json]

Process CPU time on one thread. The reference's time for all people is extrapolated from its pairs. The limit of
both measurements marks some unrelated people, so that there are marks to compare; it is three times the default.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.record import arguments, finish, machine_record
from headforge.store.dataset.identities import Identity, Mark
from headforge.synth.config import SynthesizeConfig
from headforge.synth.duplicates import find_marks, find_marks_pairwise
from headforge.synth.people.likeness import parameter_vector
from headforge.synth.people.subjects import sample_person
from headforge.synth.shots.samplers import split_of, subject_name

N_PEOPLE, N_TWIN = 10_000, 600
LIMIT = 0.7


def builtin_people(config: SynthesizeConfig, n: int) -> list[Identity]:
    """Return the first people of the generator."""
    vectors = [parameter_vector(sample_person(config.seed, i, config.long_hair_share)) for i in range(n)]
    return [
        Identity(subject_name(i), split_of(config.seed, i, config.heldout_every), 0, vector.astype(np.float32))
        for i, vector in enumerate(vectors)
    ]


def timed(run: Callable[[], list[Mark]]) -> tuple[float, list[Mark]]:
    """Return the CPU seconds and the result."""
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


def main() -> None:
    """Measure and report."""
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    config = SynthesizeConfig()
    people = builtin_people(config, N_PEOPLE)
    fast_s, marks = timed(lambda: find_marks(people, LIMIT))
    twin_s, expected = timed(lambda: find_marks_pairwise(people[:N_TWIN], LIMIT))
    first = [mark for mark in marks if int(mark.subject_id) < N_TWIN]
    twin_all_s = twin_s * (N_PEOPLE / N_TWIN) ** 2
    finish(
        {
            **machine_record([config.seed]),
            "n_people": N_PEOPLE,
            "limit": LIMIT,
            "marks": len(marks),
            "marks_at_the_default_limit": len(find_marks(people, config.duplicate_distance)),
            "fast_s": fast_s,
            "twin_s": {"people": N_TWIN, "measured": round(twin_s, 3), "for_everyone": round(twin_all_s, 1)},
            "fast_over_twin": twin_all_s / fast_s,
            "the_first_people_have_the_twins_marks": first == expected,
        },
        options,
    )


if __name__ == "__main__":
    main()
