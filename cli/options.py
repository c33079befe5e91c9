"""Options of all commands: each name, meaning and default is written once, here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .choices import AtEnd, Cache, Layout, Rendering, ShellName, ShownThoughts, Stored, Think
from .model_argument import ModelName, model_or_question

# Both take a name, too: `model_names` turns it into a file before the command sees it.
Model = Annotated[
    Path,
    typer.Argument(metavar="MODEL", parser=ModelName, help="A name, hf:org/repo, or a GGUF file.", show_default=False),
]
Models = Annotated[
    list[Path],
    typer.Argument(metavar="MODEL...", parser=ModelName, help="Names or GGUF files.", show_default=False),
]
ModelOrQuestion = Annotated[
    Path | None,
    typer.Argument(
        metavar="MODEL",
        parser=model_or_question,
        help="A name, hf:org/repo, or a GGUF file; without it the built-in guide answers.",
        show_default=False,
    ),
]
MaybeModel = Annotated[
    Path | None,
    typer.Argument(metavar="MODEL", parser=ModelName, help="A name, hf:org/repo, or a GGUF file.", show_default=False),
]
File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        parser=ModelName,
        help="A GGUF file (the first part of a split one), or a MODEL.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Prompt = Annotated[
    str | None,
    typer.Argument(
        metavar="PROMPT|-", help="The text; - or none reads stdin; a pipe or file on stdin is put after it."
    ),
]
NoStdin = Annotated[bool, typer.Option("--no-stdin", help="Never read stdin.")]
Files = Annotated[
    list[Path] | None,
    typer.Option("-f", "--file", metavar="FILE", help="A text to read before the prompt; may be repeated."),
]
System = Annotated[str | None, typer.Option("-s", "--system", metavar="TEXT", help="What the model is told to be.")]
Raw = Annotated[bool, typer.Option("--raw", help="Continue the text and files as they are, without a chat template.")]
Template = Annotated[
    str | None, typer.Option("--template", metavar="NAME|FILE", help="A chat template instead of the model's own.")
]
ShowPrompt = Annotated[
    bool, typer.Option("--show-prompt", help="Print the exact prompt and its token ids, and run nothing.")
]
OutputFile = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write the answer there when it is complete.")
]
Force = Annotated[bool, typer.Option("--force", help="Let -o write over a file.")]
MaxTokens = Annotated[
    int | None, typer.Option("-n", "--max-tokens", min=0, help="Most tokens to make; by default until the model ends.")
]
Ctx = Annotated[
    int | None, typer.Option("-c", "--ctx", min=1, help="Context in tokens; by default the model's, 4096 at most.")
]
Threads = Annotated[
    int | None, typer.Option("-t", "--threads", min=1, help="Threads; by default one for each physical core.")
]
KvType = Annotated[
    Cache, typer.Option("--kv-type", help="Keys and values as halves, or as bytes: a little over half the memory.")
]
Temp = Annotated[
    float | None,
    typer.Option("--temp", help="Temperature; 0 always takes the likeliest. As the model recommends, else 0.8."),
]
TopK = Annotated[int | None, typer.Option("--top-k", help="Draw from the K likeliest tokens; 0 is off. Else 40.")]
TopP = Annotated[
    float | None, typer.Option("--top-p", help="Draw from the likeliest that make up P; 1 is off. Else 0.95.")
]
MinP = Annotated[
    float | None, typer.Option("--min-p", help="Drop tokens below P times the likeliest; 0 is off. Else 0.05.")
]
Typical = Annotated[float | None, typer.Option("--typical", help="Locally typical sampling; 1 is off.")]
RepeatPenalty = Annotated[float | None, typer.Option("--repeat-penalty", help="Divide what was said lately; 1 is off.")]
FrequencyPenalty = Annotated[
    float | None, typer.Option("--frequency-penalty", help="Subtract per time said; 0 is off.")
]
PresencePenalty = Annotated[float | None, typer.Option("--presence-penalty", help="Subtract once if said; 0 is off.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Same seed, same text; by default a random one.")]
Stop = Annotated[list[str] | None, typer.Option("--stop", help="End before this text; may be repeated.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors on stderr.")]
PromptCache = Annotated[
    str,
    typer.Option(
        "--prompt-cache", metavar="auto|off|FILE", help="Keep what was read on disk, so that it is not read again."
    ),
]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Speed and seed on stderr at the end.")]

Continue = Annotated[bool, typer.Option("--continue", help="Go on with the last session.")]
SessionId = Annotated[
    str | None, typer.Option("--session", metavar="ID", help="Go on with this session, or begin it under this name.")
]
NoSave = Annotated[bool, typer.Option("--no-save", help="Keep nothing on disk: no session, no history, no cache.")]
ThinkSwitch = Annotated[Think, typer.Option("--think", help="Whether the model thinks; auto leaves it to the model.")]
ThinkBudget = Annotated[
    int | None, typer.Option("--think-budget", metavar="N", min=0, help="End the thought after N tokens.")
]
Thoughts = Annotated[ShownThoughts, typer.Option("--thoughts", help="How thoughts are shown.")]
Render = Annotated[Rendering, typer.Option("--render", help="Draw Markdown; auto on terminals with colours.")]
ContextEnd = Annotated[
    AtEnd, typer.Option("--context-end", help="When the context is full: ask, drop the oldest turns, summarize, stop.")
]
ToolsFile = Annotated[
    Path | None, typer.Option("--tools", metavar="FILE", help="Functions that the model may call, as JSON.")
]
ToolRun = Annotated[
    str, typer.Option("--tool-run", metavar="ask|never|CMD", help="Ask before a function is run, or have CMD run all.")
]
SessionName = Annotated[str, typer.Argument(metavar="ID", help="A session, or the beginning of its id.")]
Markdown = Annotated[bool, typer.Option("--md", help="As Markdown.")]

BenchPrompt = Annotated[int, typer.Option("-p", "--prompt", min=0, help="Tokens of prompt; 0 leaves this test out.")]
BenchAnswer = Annotated[int, typer.Option("-n", "--gen", min=0, help="Tokens to make; 0 leaves this test out.")]
Depth = Annotated[int, typer.Option("-d", "--depth", min=0, help="Tokens already in the context.")]
Repeats = Annotated[int, typer.Option("-r", "--repeats", min=1, help="Times that each test is run.")]
PromptAndAnswer = Annotated[
    str | None, typer.Option("-pg", metavar="P,N", help="A test that reads P tokens and makes N, timed together.")
]
BenchThreads = Annotated[
    str | None,
    typer.Option("-t", "--threads", metavar="N,N...", help="Thread counts to try one after the other, or auto."),
]
Roofline = Annotated[bool, typer.Option("--roofline", help="Measure this machine's limits, and say what limits.")]
Baseline = Annotated[
    Path | None, typer.Option("--baseline", metavar="FILE", help="Compare with what -o json or jsonl wrote earlier.")
]
FailBelow = Annotated[
    str | None, typer.Option("--fail-below", metavar="P%", help="Exit with 10 if a test lost more than P percent.")
]
Output = Annotated[Layout, typer.Option("-o", "--output", help="How the table is written.")]

Key = Annotated[
    str | None, typer.Argument(metavar="KEY", help="The key to print whole, with --kv.", show_default=False)
]
Kv = Annotated[bool, typer.Option("--kv", help="List the metadata; with a KEY, its whole value.")]
Tensors = Annotated[bool, typer.Option("--tensors", help="List the tensors: name, format, shape, size.")]
ShowTemplate = Annotated[bool, typer.Option("--template", help="Print the chat template as it is.")]

Text = Annotated[
    str | None,
    typer.Argument(metavar="TEXT|-", help="The text; - or none reads stdin; a pipe or file on stdin is put after it."),
]
Ids = Annotated[bool, typer.Option("--ids", help="Only the ids, in one line.")]
Pieces = Annotated[bool, typer.Option("--pieces", help="Only the pieces of text, a line each.")]
Count = Annotated[bool, typer.Option("--count", help="Only how many tokens there are.")]
NoSpecial = Annotated[
    bool, typer.Option("--no-special", help="Add no BOS or EOS, and take names of special tokens for plain text.")
]
Decode = Annotated[bool, typer.Option("--decode", help="Take ids, and print their text.")]

TextFile = Annotated[Path, typer.Argument(metavar="TEXT_FILE", help="The text; - is stdin.", show_default=False)]
ChunkSize = Annotated[int, typer.Option("-c", "--ctx", min=4, help="Tokens in a chunk.")]
Chunks = Annotated[int | None, typer.Option("--chunks", metavar="N", min=1, help="Score the first N chunks only.")]

MatrixModel = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", parser=ModelName, help="A name or GGUF file; with --stats alone, a matrix.", show_default=False
    ),
]
MaybeTextFile = Annotated[
    Path | None, typer.Argument(metavar="[TEXT_FILE]", help="The text; - is stdin.", show_default=False)
]
MatrixFile = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Where to write; by default MODEL.imatrix.gguf here."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the file that is there, or add this text to it.")]
WithOutput = Annotated[bool, typer.Option("--with-output", help="Measure for the output matrix, too.")]
MatrixStats = Annotated[bool, typer.Option("--stats", help="Tell what each weight reads.")]

Reference = Annotated[
    Path,
    typer.Argument(metavar="REF", parser=ModelName, help="The model that is right, as F16.", show_default=False),
]
Candidates = Annotated[
    list[Path],
    typer.Argument(metavar="CAND...", parser=ModelName, help="What it became in fewer bits.", show_default=False),
]
ComparedText = Annotated[
    Path | None, typer.Option("--text", metavar="FILE", help="Your text; - is stdin. By default a short one of ours.")
]
GreedyPrompt = Annotated[str | None, typer.Option("--prompt", metavar="TEXT", help="What the answers are given to.")]
MaxKl = Annotated[
    float | None, typer.Option("--max-kl", metavar="X", min=0, help="Exit with 10 where a mean is above X nats.")
]

HFFolder = Annotated[Path, typer.Argument(metavar="SRC", help="A Hugging Face folder.", show_default=False)]
NewModel = Annotated[Path, typer.Argument(metavar="OUT", help="The GGUF file to write.", show_default=False)]
StoredType = Annotated[Stored, typer.Option("--type", help="Of the matrices; auto is what the folder holds.")]
Adapters = Annotated[
    list[Path] | None,
    typer.Option("--lora", metavar="ADAPTER", help="Merge a PEFT folder or GGUF adapter; may be repeated."),
]
ForceOut = Annotated[bool, typer.Option("--force", help="Write over OUT if it is there.")]
Remotes = Annotated[list[str], typer.Argument(metavar="MODEL...", help="Names or hf:org/repo.", show_default=False)]
Removed = Annotated[
    list[str], typer.Argument(metavar="MODEL...", help="Models of the store, as list names them.", show_default=False)
]
Verified = Annotated[
    list[str] | None, typer.Argument(metavar="MODEL...", help="Models of the store.", show_default=False)
]
Quant = Annotated[str | None, typer.Option("--quant", metavar="TYPE", help="The quantization, such as Q4_K_M.")]
RemoteFile = Annotated[
    str | None, typer.Option("--file", metavar="PATTERN", help="The file in the repository; * and ? are understood.")
]
Revision = Annotated[str | None, typer.Option("--revision", metavar="REV", help="A branch, a tag or a commit.")]
Folder = Annotated[
    Path | None, typer.Option("--to", metavar="DIR", help="Put the files into this folder, not into the cache.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")]
Again = Annotated[bool, typer.Option("--force", help="Get it again, even where it is here.")]
Yes = Annotated[
    bool, typer.Option("-y", "--yes", help="Do not ask, and do it where memory or disk seem too small, too.")
]
Available = Annotated[bool, typer.Option("--available", help="The models that have a name, here or not.")]
AliasName = Annotated[str, typer.Argument(metavar="NAME", help="The name to give or to forget.", show_default=False)]
AliasTarget = Annotated[
    str, typer.Argument(metavar="MODEL", help="A name, hf:org/repo, or a GGUF file.", show_default=False)
]
Fit = Annotated[
    bool, typer.Option("--fit", help="Does it fit this machine, with which context, and how fast can it be?")
]

Shell = Annotated[ShellName, typer.Argument(help="The shell; `words` is for the scripts.", show_default=False)]
Words = Annotated[list[str] | None, typer.Argument(hidden=True)]

QuantizeWords = Annotated[
    list[Path],
    typer.Argument(
        metavar="SRC [OUT] TYPE",
        parser=ModelName,
        help="A model's name, a GGUF file or a Hugging Face folder; the file to make; what it is made of, at the end.",
        show_default=False,
    ),
]
ListTypes = Annotated[bool, typer.Option("--list", help="List the types: bits per weight, size and memory for SRC.")]
TargetSize = Annotated[
    str | None, typer.Option("--target-size", metavar="SIZE", help="Choose the best type whose file fits, as 4G.")
]
TensorType = Annotated[
    list[str] | None,
    typer.Option("--tensor-type", metavar="PATTERN=TYPE", help="Another type where a name matches; may be repeated."),
]
OutputType = Annotated[str | None, typer.Option("--output-type", metavar="TYPE", help="Type of the output tensor.")]
EmbedType = Annotated[str | None, typer.Option("--embed-type", metavar="TYPE", help="Type of the token embeddings.")]
Pure = Annotated[bool, typer.Option("--pure", help="One type for all: no tensor gets more bits.")]
Imatrix = Annotated[
    Path | None, typer.Option("--imatrix", metavar="FILE", help="Importance matrix: which columns matter more.")
]
SplitSize = Annotated[
    str | None, typer.Option("--split-size", metavar="SIZE", help="Files of at most this size of tensors, as 2G.")
]
EffortLevel = Annotated[
    str,
    typer.Option("--effort", metavar="normal|high", help="high searches longer for less error, and tells the gain."),
]
CheckAfter = Annotated[
    bool, typer.Option("--check", help="Compare predictions with SRC's on a page of text afterwards.")
]
AllowRequantize = Annotated[
    bool, typer.Option("--allow-requantize", help="Quantize tensors that have lost bits already.")
]
EachTensor = Annotated[bool, typer.Option("-v", "--verbose", help="Relative RMSE of each tensor, on stderr.")]

SetKey = Annotated[str, typer.Argument(metavar="KEY", help="The key, as general.name.", show_default=False)]
SetValue = Annotated[
    str | None, typer.Argument(metavar="VALUE", help="Its value; @FILE takes the text of a file.", show_default=False)
]
ValueKind = Annotated[
    str | None, typer.Option("--type", metavar="TYPE", help="u32, i32, u64, i64, f32, f64, bool, string, ...")
]
Remove = Annotated[bool, typer.Option("--remove", help="Take the key away.")]
InPlace = Annotated[bool, typer.Option("--in-place", help="Change the file itself, by way of a copy.")]
OutFile = Annotated[Path | None, typer.Option("-o", "--output", metavar="OUT", help="Where to write.")]
OldTemplate = Annotated[str, typer.Argument(metavar="OLD", help="Its name.", show_default=False)]
NewTemplate = Annotated[str, typer.Argument(metavar="NEW", help="Its new name.", show_default=False)]
PartSize = Annotated[str, typer.Argument(metavar="SIZE", help="Most bytes of tensors, as 2G.", show_default=False)]
MergedFile = Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="The one file.", show_default=False)]
OtherFile = Annotated[Path, typer.Argument(metavar="OTHER", help="The file to compare with.", show_default=False)]
