"""``mmzoo data``: what to do with a data set without training. Nothing is imported here: help is fast."""

ACTIONS = {
    "download": "fetch a data set where its owners offer that, checked and resumed; or say how to come by it",
    "prepare": "read, cut and prepare everything ahead of training; checksums of all of it in a manifest",
    "check": "open every item's title, picture, sound and clip; say what is missing, corrupt, double, odd",
    "stats": "the data set in numbers and in one picture",
    "show": "a few users' histories with covers and titles",
    "baseline": "test targets ranked by counts alone: popularity, or first-order Markov",
}
"""Action -> what it does; the action ``x`` is the function ``x`` of ``datamodules.tools.x``."""

HELP = f"""mmzoo data: a data set without a model to train

usage: mmzoo data ACTION --data NAME [--data.OPTION VALUE ...] [--model NAME ...] [--OPTION VALUE ...]

actions:
  download   {ACTIONS["download"]}
  prepare    {ACTIONS["prepare"]}
  check      {ACTIONS["check"]};
             ends with status 1 if something is lost
  stats      {ACTIONS["stats"]}
  show       {ACTIONS["show"]}
  baseline   {ACTIONS["baseline"]}

options of all:
  --data NAME           as in mmzoo fit: a name of mmzoo list, a YAML file or a class; --data.OPTION likewise
  --model NAME          prepare: whose content to prepare; its recipe's --data options hold for the others too
  --out FOLDER          where reports and pictures go (default: runs/<data>/data)

options of download:
  --base_url ADDRESS    of a copy of your own, in the place of the owners' server
  --retries N           further attempts after a connection that broke (default: 5)

options of prepare:
  --modalities LIST     some of the model's, such as text,image (default: all of them)

options of check:
  --modalities LIST     what to open (default: the model's, or whatever lies there)
  --threads N           files open at a time (default: one a core)
  --limits.min_title, --limits.max_title       letters of a title beyond which it is reported
  --limits.min_side                            pixels of a picture's shorter side
  --limits.min_seconds, --limits.min_frames    of a sound, of a clip
  --limits.max_megabytes                       of a file

options of show:
  --users LIST          names of users (default: drawn)
  --count N, --seed N   how many are drawn, and the draw
  --items N             most recent items shown of each

options of baseline:
  --ranker NAME         popularity (default) or markov

examples:
  mmzoo data download --data ml100k
  mmzoo data prepare --data demo --model morec
  mmzoo data check --data nineRec --data.root ~/NineRec --data.subset QB
  mmzoo data stats --data demo
  mmzoo data show --data demo --count 4

more: mmzoo data stats --data.help datamodules.demo.Demo
"""
