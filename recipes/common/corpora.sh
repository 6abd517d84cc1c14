# Sourced by the recipes of large corpora, after xvector.sh: configurations by name, augmentation, GPUs.
# shellcheck shell=bash
# Reads the variables data sample_rate musan rirs gpu train_options ood_data.

# corpus_flags: sets config to a file, and train_flags and extract_flags.
corpus_flags() {
  [[ -f $config ]] || config=$(preset_file "$config")
  local narrow=${config%.yaml}_8khz.yaml
  if ((sample_rate == 8000)) && [[ -f $narrow ]]; then
    train_flags+=(--config "$narrow")
  fi
  if [[ -n $musan ]]; then
    train_flags+=(--augment.noise_dir "$data/musan/noise" --augment.music_dir "$data/musan/music"
      --augment.babble_dir "$data/musan/speech")
  else
    train_flags+=(--augment.noise_prob 0 --augment.music_prob 0 --augment.babble_prob 0)
  fi
  if [[ -n $rirs ]]; then
    train_flags+=(--augment.rir_dir "$data/rirs/rir")
  else
    train_flags+=(--augment.rir_prob 0)
  fi
  if [[ $gpu == true ]]; then
    train_flags+=(--accelerator gpu --precision bf16-mixed)
    extract_flags+=(--accelerator cuda)
  fi
  # shellcheck disable=SC2206
  train_flags+=($train_options)
}

# prepare_augmentation: what --musan and --rirs name, as folders for bbb train.
prepare_augmentation() {
  if [[ -n $musan ]]; then
    once "$data/musan/speech/wav.scp" prep musan prepare --source "$musan" --output "$data/musan"
  fi
  if [[ -n $rirs ]]; then
    once "$data/rirs/rir/mediumroom/wav.scp" prep rirs_noises prepare --source "$rirs" \
      --output "$data/rirs" --count 2000
  fi
}

# check_ood FILE: the out-of-domain data are there, and of the model's sample rate.
check_ood() {
  [[ -n $ood_data ]] || return 0
  ((sample_rate == 8000)) || fail "--ood-data is of 8 kHz; add --sample-rate 8000"
  [[ -e $ood_data/$1 ]] || fail "$ood_data has no $1; --ood-data is what the other recipe has prepared"
}
