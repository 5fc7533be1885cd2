/** `naru completion bash|fish|zsh`: scripts that ask the hidden `__complete` command, so they never grow old. */
import { print } from "../terminal/stdio.ts";
import type { Command } from "./command.ts";

const BASH = `# bash completion for naru
_naru() {
  # Readline ends words at = and : as well; they are put together as they were typed.
  local rest=$COMP_LINE word words=()
  for word in "\${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
    if [[ \${#words[@]} -eq 0 || $rest == [[:space:]]* ]]; then
      rest=\${rest#"\${rest%%[![:space:]]*}"}
      words+=("$word")
    else
      words[-1]+=$word
    fi
    rest=\${rest#"$word"}
  done
  # Only what stands behind the last of them is replaced.
  local cur=\${words[-1]} breaks=\${COMP_WORDBREAKS//[^=:]/} head=
  [[ -n $breaks && $cur == *[$breaks]* ]] && head=\${cur%"\${cur##*[$breaks]}"}
  local lines line
  mapfile -t lines < <("\${words[@]:0:1}" __complete "\${words[@]:1}" 2>/dev/null)
  COMPREPLY=()
  for line in "\${lines[@]}"; do
    if [ "$line" = ":files" ]; then
      compopt -o filenames 2>/dev/null
      mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "\${cur#"$head"}")
    else
      line=\${line%%$'\\t'*}
      COMPREPLY+=("\${line#"$head"}")
    fi
  done
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
  if (( files )); then
    [[ "\${words[CURRENT]}" == --*=* ]] && compset -P '*='
    _files
  fi
}
if [[ "$funcstack[1]" == "_naru" ]]; then _naru "$@"; else compdef _naru naru; fi
`;

const FISH = `# fish completion for naru
function __naru_complete
  set -l words (commandline -opc) (commandline -ct)
  for line in ($words[1] __complete $words[2..-1] 2>/dev/null)
    if test "$line" = ":files"
      set -l head (string match -r '^--[^=]*=' -- (commandline -ct))
      for path in (__fish_complete_path (string replace -- "$head" "" (commandline -ct)))
        echo "$head$path"
      end
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
