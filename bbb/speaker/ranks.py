"""Which of several processes this one is, by the word of the program that started them."""

import os

# torchrun's names, and those that SLURM gives to the tasks of a step (srun), not to a batch script.
_NAMES = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"))


def launched_rank() -> tuple[int, int] | None:
    """This process's rank, from 0, and the number of processes that torchrun or srun started.

    Returns:
        None where neither did. A shell on a cluster's machine, in a job named "bash" or
        "interactive", is no such start, for Lightning neither.
    """
    shell = os.environ.get("SLURM_JOB_NAME") in {"bash", "interactive"}
    for rank, number in _NAMES[:1] if shell else _NAMES:
        if rank in os.environ and number in os.environ:
            return int(os.environ[rank]), int(os.environ[number])
    return None
