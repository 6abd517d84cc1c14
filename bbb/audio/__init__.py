"""Speech: Kaldi data directories, features, voice activity, augmentation, training batches.

Times are in seconds and frequencies in Hz; frames of features are 10 ms apart. Waveforms are NumPy
arrays of float32 in [-1, 1), features are torch tensors of shape (frames, dim).
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from bbb.audio.archives import FeatureArchive as FeatureArchive
    from bbb.audio.archives import write_features as write_features
    from bbb.audio.augment import AugmentConfig as AugmentConfig
    from bbb.audio.augment import Augmenter as Augmenter
    from bbb.audio.augment import add_noise as add_noise
    from bbb.audio.augment import change_speed as change_speed
    from bbb.audio.augment import reverberate as reverberate
    from bbb.audio.chunks import ChunkConfig as ChunkConfig
    from bbb.audio.datadir import DataDir as DataDir
    from bbb.audio.datadir import Segment as Segment
    from bbb.audio.datadir import Side as Side
    from bbb.audio.dataset import ChunkBatches as ChunkBatches
    from bbb.audio.features import FeatureConfig as FeatureConfig
    from bbb.audio.features import energy_vad as energy_vad
    from bbb.audio.features import kaldi_features as kaldi_features
    from bbb.audio.features import log_energy as log_energy
    from bbb.audio.features import num_frames as num_frames
    from bbb.audio.features import sliding_cmn as sliding_cmn
    from bbb.audio.features import utterance_features as utterance_features
    from bbb.audio.features import voice_activity as voice_activity
    from bbb.audio.fix import FixReport as FixReport
    from bbb.audio.fix import fix_data_dir as fix_data_dir
    from bbb.audio.shards import write_shards as write_shards
    from bbb.audio.shards_reader import ShardReader as ShardReader
    from bbb.audio.sounds import load_folder as load_folder
    from bbb.audio.specaugment import SpecAugmentConfig as SpecAugmentConfig
    from bbb.audio.specaugment import spec_augment as spec_augment
    from bbb.audio.tables import Fault as Fault
    from bbb.audio.validate import validate_data_dir as validate_data_dir
    from bbb.audio.waveform import AudioInfo as AudioInfo
    from bbb.audio.waveform import audio_info as audio_info
    from bbb.audio.waveform import load_utterance as load_utterance
    from bbb.audio.waveform import read_waveform as read_waveform

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "archives": ["FeatureArchive", "write_features"],
        "augment": [
            "AugmentConfig",
            "Augmenter",
            "add_noise",
            "change_speed",
            "reverberate",
        ],
        "chunks": ["ChunkConfig"],
        "datadir": ["DataDir", "Segment", "Side"],
        "dataset": ["ChunkBatches"],
        "features": [
            "FeatureConfig",
            "energy_vad",
            "kaldi_features",
            "log_energy",
            "num_frames",
            "sliding_cmn",
            "utterance_features",
            "voice_activity",
        ],
        "fix": ["FixReport", "fix_data_dir"],
        "shards": ["write_shards"],
        "shards_reader": ["ShardReader"],
        "sounds": ["load_folder"],
        "specaugment": ["SpecAugmentConfig", "spec_augment"],
        "tables": ["Fault"],
        "validate": ["validate_data_dir"],
        "waveform": ["AudioInfo", "audio_info", "load_utterance", "read_waveform"],
    },
)
