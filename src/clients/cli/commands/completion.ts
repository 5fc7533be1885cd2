/** `naru completion bash|fish|zsh`: scripts that ask the hidden `__complete` command, so they never grow old. */
import { print } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";

const BASH = `# bash completion for naru
_naru() {
  local cur words cword prev
  if declare -F _get_comp_words_by_ref >/dev/null; then
    _get_comp_words_by_ref -n "=:" cur words cword
  else
    cur="\${COMP_WORDS[COMP_CWORD]}"; words=("\${COMP_WORDS[@]}"); cword=$COMP_CWORD
  fi
  local lines
  mapfile -t lines < <("\${words[0]}" __complete "\${words[@]:1:cword}" 2>/dev/null)
  COMPREPLY=()
  local line
  for line in "\${lines[@]}"; do
    if [ "$line" = ":files" ]; then
      compopt -o filenames 2>/dev/null
      mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur")
    else
      COMPREPLY+=("\${line%%$'\\t'*}")
    fi
  done
  if declare -F __ltrim_colon_completions >/dev/null; then __ltrim_colon_completions "$cur"; fi
}
complete -F _naru naru
`;

const ZSH = `#compdef naru
_naru() {
  local -a lines candidates
  lines=("\${(@f)$("\${words[1]}" __complete "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  local line files=0
  for line in $lines; do
    if [[ "$line" == ":files" ]]; then
      files=1
    elif [[ -n "$line" ]]; then
      candidates+=("\${\${line%%$'\\t'*}//:/\\\\:}\${\${(M)line:#*$'\\t'*}:+:\${line#*$'\\t'}}")
    fi
  done
  (( \${#candidates} )) && _describe -V naru candidates
  (( files )) && _files
}
if [[ "$funcstack[1]" == "_naru" ]]; then _naru "$@"; else compdef _naru naru; fi
`;

const FISH = `# fish completion for naru
function __naru_complete
  set -l words (commandline -opc) (commandline -ct)
  for line in ($words[1] __complete $words[2..-1] 2>/dev/null)
    if test "$line" = ":files"
      __fish_complete_path (commandline -ct)
    else
      echo $line
    end
  end
end
complete -c naru -f -a "(__naru_complete)"
`;

const scripts = { bash: BASH, zsh: ZSH, fish: FISH } as const;

export const completionScript = (shell: keyof typeof scripts): Command => ({
  flags: [],
  run() {
    print(scripts[shell]);
    return 0;
  },
});
