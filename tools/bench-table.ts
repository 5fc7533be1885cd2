/**
 * The tables of README.md and README.ko.md, from bench/results/latest.json.
 *
 *   node_modules/.bin/bun tools/bench-table.ts                             makes them anew
 *   node_modules/.bin/bun tools/bench-table.ts bench/results/partial.json  puts a later run's rows into latest.json first
 *
 * A row that is not in the results is left out; tests/tidy holds the tables to the results.
 */
import { readFileSync, writeFileSync } from "node:fs";

import { LATEST, mergeResults, type Results, resultsText, type Row } from "../bench/results.ts";

type Language = "en" | "ko";

/** A line of the table: which row, who against whom. */
interface Line {
  readonly scenario: string;
  readonly mine: string;
  readonly other: string;
  readonly en: string;
  readonly ko: string;
}

const MARK = "<!-- bench -->\n";
const FILES = { en: "README.md", ko: "README.ko.md" } as const satisfies Record<Language, string>;

const NARU = "naru";
const DOCKER = "docker";
const BY_DOCKER = "naru (docker CLI)";
const BY_NARU = "naru (naru CLI)";
const BY_BUILDKIT = "naru (BuildKit's client)";
const BUILDKIT = "docker BuildKit";
const CLASSIC = "docker classic";

const line = (
  scenario: string,
  [mine, other]: readonly [string, string],
  en: string,
  ko: string,
): Line => ({ scenario, mine, other, en, ko });

const both = [NARU, DOCKER] as const;
const dockerOnBoth = [BY_DOCKER, DOCKER] as const;
const naruAndDocker = [BY_NARU, DOCKER] as const;

const lines: readonly Line[] = [
  line(
    "run --rm, bridge",
    dockerOnBoth,
    "`run --rm busybox true`, docker CLI on both",
    "docker CLI로 `run --rm busybox true`",
  ),
  line(
    "run --rm, bridge",
    naruAndDocker,
    "the same with `naru` as the client",
    "같은 일을 `naru` 명령으로",
  ),
  line(
    "run --rm, bridge, engine just started",
    dockerOnBoth,
    "the first 40 of an engine that has just begun, docker CLI on both",
    "막 시작한 엔진의 첫 40번, docker CLI",
  ),
  line(
    "run --rm, no network",
    dockerOnBoth,
    "`run --rm --network none`, docker CLI on both",
    "`run --rm --network none`, docker CLI",
  ),
  line("exec true", dockerOnBoth, "`exec true`, docker CLI on both", "`exec true`, docker CLI"),
  line("exec true", naruAndDocker, "`exec true` with `naru`", "`exec true`, `naru` 명령"),
  line("30 runs at once", both, "30 runs at once", "30개 동시에 실행"),
  line(
    "load of the Debian image",
    both,
    "`load` of a 248 MB, 10,489-file image",
    "248 MB, 파일 10,489개 이미지 `load`",
  ),
  line(
    "pull of the Debian image",
    both,
    "`pull` of it from a local registry",
    "로컬 레지스트리에서 `pull`",
  ),
  line("rmi of the Debian image", both, "`rmi` of it", "`rmi`"),
  line(
    "logs: 400,000 lines, 24 MB",
    both,
    "a container prints 400,000 lines",
    "로그 400,000줄 출력",
  ),
  line(
    "logs -f of 500000 lines, json-file",
    both,
    "log lines through to a `logs -f` (more is better)",
    "`logs -f`까지 닿는 로그 줄(클수록 좋음)",
  ),
  line(
    "CLI start-up: version (CPU)",
    both,
    "CPU time of the client's `version`",
    "`version` 명령의 CPU 시간",
  ),
  line(
    "idle memory, resident",
    both,
    "idle engine, resident (shared pages once)",
    "쉬는 엔진, 상주 메모리(공유 페이지는 한 번)",
  ),
  line("idle memory, private", both, "idle engine, private", "쉬는 엔진, 전용 메모리"),
  line(
    "200 idle: memory each",
    both,
    "memory added by each of 200 idle containers",
    "쉬는 컨테이너 하나가 더하는 메모리(200개)",
  ),
  line("200 idle: ps", both, "listing 200 containers (API)", "컨테이너 200개 목록(API)"),
  line(
    "ps of 500 containers",
    ["naru, by the API", "docker, by the API"],
    "listing 500 containers, most not running (API)",
    "대부분 멈춘 컨테이너 500개 목록(API)",
  ),
  line(
    "200 watched: docker stats",
    ["naru, by the API", "docker, by the API"],
    "`stats` streams of 200 containers, of one core",
    "컨테이너 200개 `stats` 스트림, 코어 하나 기준",
  ),
  line(
    "20 event watchers over 400 lives",
    both,
    "one container's life with 20 watching the events",
    "이벤트를 20곳에서 볼 때 컨테이너 하나의 한살이",
  ),
  line(
    "200 idle: daemon restart",
    both,
    "daemon killed and serving again, 200 running",
    "데몬 강제 종료 후 다시 응답(200개 실행 중)",
  ),
  line("cp in: 1 GB", both, "`cp` of 1 GB into a container", "컨테이너로 1 GB `cp`"),
  line("cp out: 1 GB", both, "`cp` of 1 GB out of one", "컨테이너에서 1 GB `cp`"),
  line("cp in: 20,000 files", both, "`cp` of 20,000 files in", "파일 20,000개를 안으로 `cp`"),
  line("cp in: 20,000 files", naruAndDocker, "the same with `naru`", "같은 일을 `naru`로"),
  line("cp out: 20,000 files", both, "`cp` of 20,000 files out", "파일 20,000개를 밖으로 `cp`"),
  line("cp out: 20,000 files", naruAndDocker, "the same with `naru`", "같은 일을 `naru`로"),
  line("export: 20,000 files", both, "`export` of them", "그것을 `export`"),
  line("commit: 20,000 files", both, "`commit` of them", "그것을 `commit`"),
  line(
    "build of 10 steps, cold",
    [BY_DOCKER, BUILDKIT],
    "a cold `docker build` of 10 steps, beside BuildKit",
    "10단계 `docker build`(캐시 없음), 오른쪽은 BuildKit",
  ),
  line(
    "build of 10 steps, warm",
    [BY_DOCKER, BUILDKIT],
    "a warm `docker build` of 10 steps, beside BuildKit",
    "10단계 `docker build`(캐시 있음), 오른쪽은 BuildKit",
  ),
  line(
    "build, 20,000 files unchanged",
    [BY_DOCKER, CLASSIC],
    "a context of 20,000 files, unchanged, classic builders",
    "바뀌지 않은 파일 20,000개 컨텍스트, 기존 빌더",
  ),
  line(
    "build, 20,000 files unchanged",
    [BY_NARU, BUILDKIT],
    "the same by `naru build`, beside BuildKit",
    "같은 일을 `naru build`로, 오른쪽은 BuildKit",
  ),
  line(
    "build, 20,000 files, one changed",
    [BY_NARU, BUILDKIT],
    "one of the files changed, beside BuildKit",
    "그중 하나가 바뀐 뒤, 오른쪽은 BuildKit",
  ),
  line(
    "build of 8 stages at once",
    [BY_DOCKER, BUILDKIT],
    "8 stages at once, beside BuildKit",
    "8단계 동시 빌드, 오른쪽은 BuildKit",
  ),
  line(
    "build, COPY of 1 GB",
    [BY_BUILDKIT, BUILDKIT],
    "`COPY` of 1 GB, BuildKit's client on both",
    "1 GB `COPY`, 양쪽 모두 BuildKit 클라이언트",
  ),
  line(
    "build -o tar: 200 MB",
    [BY_BUILDKIT, BUILDKIT],
    "`build -o type=tar` of 200 MB, BuildKit's client on both",
    "200 MB `build -o type=tar`, 양쪽 모두 BuildKit 클라이언트",
  ),
  line(
    "run -p with 1 ports published",
    both,
    "`run -p` with one port published",
    "포트 1개가 공개된 상태의 `run -p`",
  ),
  line(
    "run -p with 1000 ports published",
    both,
    "`run -p` with 1,000 ports published",
    "포트 1,000개가 공개된 상태의 `run -p`",
  ),
  line(
    "DNS latency in a container",
    both,
    "a DNS answer inside a container",
    "컨테이너 안 DNS 응답 하나",
  ),
  line("network create and rm", both, "`network create` and `rm`", "`network create`와 `rm`"),
  line(
    "birth alone",
    [NARU, "crun run"],
    "birth alone (spec to running program) beside a bare `crun run`",
    "탄생만(스펙에서 실행까지), 오른쪽은 `crun run`",
  ),
];

/** As many digits as the measurement is worth. */
function shown(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 1 ? value.toFixed(1) : String(Number(value.toPrecision(2)));
}

const quotient = (a: number, b: number): string => String(Number((a / b).toPrecision(2)));

function tableLine(rows: ReadonlyMap<string, Row>, one: Line, language: Language): string[] {
  const row = rows.get(one.scenario);
  const [mine, other] = [row?.medians[one.mine], row?.medians[one.other]];
  if (row === undefined || mine === undefined || other === undefined) return [];
  const cells = [
    one[language],
    `${shown(mine)} ${row.unit}`,
    `${shown(other)} ${row.unit}`,
    quotient(mine, other),
  ];
  return [`| ${cells.join(" | ")} |`];
}

const heads = {
  en: (docker: string) => `| what | Naru | Docker ${docker} | Naru / Docker |`,
  ko: (docker: string) => `| 항목 | 나루 | Docker ${docker} | 나루 / Docker |`,
} as const;

const LINK = "[bench/results/latest.json](bench/results/latest.json)";

/** What the numbers with docker's CLI hold besides the engine; nothing without the row. */
function tail(rows: ReadonlyMap<string, Row>, language: Language): string[] {
  const bare = rows.get("bare runtimes")?.medians;
  const [crun, runc, version] = ["crun run", "runc run", "docker version"].map((name) =>
    shown(bare?.[name] ?? Number.NaN),
  );
  if (bare === undefined) return [];
  return language === "en"
    ? [
        "",
        `In the same run a bare \`crun run\` took ${crun} ms, \`runc run\` ${runc} ms, \`docker version\` ${version} ms: about half of`,
        `every line above that runs something by docker's CLI is that CLI itself. All numbers: ${LINK}.`,
      ]
    : [
        "",
        `같은 실행에서 \`crun run\`만은 ${crun} ms, \`runc run\`은 ${runc} ms, \`docker version\`은 ${version} ms였습니다. docker CLI로 무언가를`,
        `실행하는 줄의 절반쯤은 CLI 자신의 시간입니다. 전체 수치: ${LINK}.`,
      ];
}

/** All that stands behind the mark. */
export function benchTable(results: Results, language: Language): string {
  const rows = new Map(results.rows.map((row) => [row.scenario, row]));
  return [
    heads[language](results.docker),
    "| --- | --- | --- | --- |",
    ...lines.flatMap((one) => tableLine(rows, one, language)),
    ...tail(rows, language),
    "",
  ].join("\n");
}

/** The document with the table of these results. @throws Error when it has no place for one */
export function withBenchTable(document: string, table: string): string {
  const at = document.indexOf(MARK);
  if (at < 0) throw new Error(`there is no ${MARK.trim()} in it`);
  return `${document.slice(0, at)}${MARK}${table}`;
}

const read = (path: string): Results => JSON.parse(readFileSync(path, "utf8")) as Results;

if (import.meta.main) {
  const results = process.argv.slice(2).map(read).reduce(mergeResults, read(LATEST));
  writeFileSync(LATEST, resultsText(results));
  for (const language of ["en", "ko"] as const) {
    const file = FILES[language];
    writeFileSync(file, withBenchTable(readFileSync(file, "utf8"), benchTable(results, language)));
  }
}
