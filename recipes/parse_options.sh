# Options of a recipe, with the manners of Kaldi's parse_options.sh; sourced by common.sh.
#
# `--some-name value` sets some_name; an option whose default is true or false takes nothing else; `--config FILE` is read
# first and has the lower priority; `--a=b` is refused. Unlike Kaldi's, a configuration file is only read, never run: lines
# `name: value`, `#` starts a comment. An option that is not among `options` is kept in passed_on.

options_given=
passed_on=()  # flags and values that the recipe does not know, those of files first
was_given() { [[ " $options_given " == *" $1 "* ]]; }  # was_given SOME_NAME : set on the command line or in a file

set_option() {  # set_option --some-name value : checked assignment to a declared option
  local name=${1#--} known
  name=${name//-/_}
  for known in "${options[@]}"; do
    [[ $known == "$name" ]] || continue
    if [[ ${!name} =~ ^(true|false)$ && ! $2 =~ ^(true|false)$ ]]; then
      die "option $1 must be true or false, not '$2'"
    fi
    if [[ ${!name} =~ ^-?[0-9]+$ && ! $2 =~ ^-?[0-9]+$ ]]; then
      die "option $1 must be a whole number, not '$2'"
    fi
    printf -v "$name" %s "$2"
    options_given+=" $name"
    return
  done
  passed_on+=("--${name//_/-}" "$2")
}

read_config() {  # read_config FILE : flat YAML, one `name: value` a line
  local line number=0
  [[ -f $1 ]] || die "no configuration file '$1'"
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    ((number > 1)) || line=${line#$'\xef\xbb\xbf'}  # a byte order mark
    line=${line%%#*}
    [[ -n ${line//[[:space:]]/} ]] || continue
    [[ $line =~ ^([A-Za-z_][A-Za-z0-9_-]*):[[:space:]]*(.*[^[:space:]]|)[[:space:]]*$ ]] ||
      die "$1, line $number: expected 'name: value', found '$line'"
    set_option "--${BASH_REMATCH[1]//_/-}" "${BASH_REMATCH[2]}"
  done < "$1"
}

parse_options() {
  local words=("$@") i
  for ((i = 0; i < ${#words[@]}; i++)); do
    if [[ ${words[i]} == --help ]]; then usage; exit 0; fi
  done
  for ((i = 0; i < ${#words[@]}; i++)); do
    if [[ ${words[i]} == --config ]]; then read_config "${words[i + 1]:-}"; fi
  done
  while [[ $# -gt 0 ]]; do
    case $1 in
      --*=*) die "write '${1%%=*} ${1#*=}', not '$1'" ;;
      --config) shift 2 ;;
      --*)
        [[ $# -ge 2 ]] || die "option $1 needs a value"
        set_option "$1" "$2"
        shift 2
        ;;
      *) die "unexpected argument '$1' (--help lists the options)" ;;
    esac
  done
  [[ ! ${exp-exp} =~ ^(/[/.]*)?$ ]] || die "--exp '$exp': expected the name of a folder to make"
  ((stage >= 0 && stop_stage >= stage)) || die "--stage $stage --stop-stage $stop_stage: expected 0 <= stage <= stop stage"
}
