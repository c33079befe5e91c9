"""Options of all commands: each name, meaning and default is written once, here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .choices import (
    AtEnd,
    Cache,
    Layout,
    Pooling,
    Rendering,
    ShellName,
    ShownThoughts,
    Stored,
    Think,
    Transcript,
    VectorLayout,
    Weights,
    Wrapping,
)
from .model_argument import ModelName, model_or_question

MODEL = "A model's name, hf:org/repo, or a GGUF file."

# ---- models and files: a name becomes a path before the command sees it (model_argument) ----------------------------

Model = Annotated[Path, typer.Argument(metavar="MODEL", parser=ModelName, help=MODEL, show_default=False)]
Models = Annotated[
    list[Path], typer.Argument(metavar="MODEL...", parser=ModelName, help="Names or GGUF files.", show_default=False)
]
WarmupModel = Annotated[
    Path | None,
    typer.Argument(metavar="MODEL", parser=ModelName, help=f"{MODEL} Default: all kernels.", show_default=False),
]
ModelOrQuestion = Annotated[
    Path | None,
    typer.Argument(
        metavar="MODEL",
        parser=model_or_question,
        help=f"{MODEL} Default: the built-in guide, which also answers a question given alone.",
        show_default=False,
    ),
]
File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        parser=ModelName,
        help="A GGUF file (of a split model: its first part), or a model's name.",
        show_default=False,
    ),
]

# ---- common to many commands ----------------------------------------------------------------------------------------

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors on stderr.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Print speed, stop reason and seed on stderr.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Dry run: print what would be done.")]
Confirmed = Annotated[bool, typer.Option("-y", "--yes", help="Answer yes to all questions.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Run even if memory seems too small.")]
YesDownload = Annotated[bool, typer.Option("-y", "--yes", help="Download even if memory or disk space seem too small.")]
Threads = Annotated[
    int | None,
    typer.Option("-t", "--threads", metavar="N", min=1, help="Number of threads. Default: one per physical core."),
]
Ctx = Annotated[
    int | None,
    typer.Option(
        "-c", "--ctx", metavar="N", min=1, help="Context size in tokens. Default: the model's own, at most 4096."
    ),
]
KvType = Annotated[Cache, typer.Option("--kv-type", help="KV cache type: f16, or q8_0 for about half the memory.")]
WeightsMode = Annotated[
    Weights,
    typer.Option(
        "--weights",
        help="map reads weights from the file as they are needed; copy loads them into memory in an order that makes "
        "generation faster; auto copies where memory suffices.",
    ),
]
NoNewline = Annotated[
    bool, typer.Option("--no-newline", help="End the output as the model does; otherwise it ends with a line feed.")
]
NoStdin = Annotated[bool, typer.Option("--no-stdin", help="Never read stdin.")]
ForceOut = Annotated[bool, typer.Option("--force", help="Overwrite the output file if it exists.")]

# ---- prompts --------------------------------------------------------------------------------------------------------

Prompt = Annotated[
    str | None,
    typer.Argument(
        metavar="PROMPT",
        help="The prompt; - reads it from stdin. Text piped to stdin is added after it. Default: stdin.",
        show_default=False,
    ),
]
Files = Annotated[
    list[Path] | None,
    typer.Option("-f", "--file", metavar="FILE", help="Put this text file before the prompt; may be repeated."),
]
System = Annotated[
    str | None,
    typer.Option(
        "-s", "--system", metavar="TEXT", help="System prompt. Default: none, unless the chat template has one."
    ),
]
Raw = Annotated[bool, typer.Option("--raw", help="Text completion: send the prompt as it is, without a chat template.")]
Template = Annotated[
    str | None,
    typer.Option(
        "--template", metavar="NAME|FILE", help="Chat template: a built-in name or a Jinja file. Default: the model's."
    ),
]
ShowPrompt = Annotated[
    bool, typer.Option("--show-prompt", help="Print the formatted prompt and its token ids, and do not run the model.")
]
OutputFile = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Write to this file once complete. Default: stdout."),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the file of -o if it exists.")]
PromptCache = Annotated[
    str,
    typer.Option(
        "--prompt-cache",
        metavar="auto|off|FILE",
        help="Keep processed prompts on disk, so that the same beginning is not processed again.",
    ),
]

# ---- generation -----------------------------------------------------------------------------------------------------

MaxTokens = Annotated[
    int | None,
    typer.Option(
        "-n",
        "--max-tokens",
        metavar="N",
        min=0,
        help="Maximum number of tokens to generate. Default: until the model ends.",
    ),
]
Temp = Annotated[
    float | None,
    typer.Option(
        "--temp",
        metavar="T",
        help="Temperature; 0 always picks the most likely token. Default: the model's recommendation, otherwise 0.8.",
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        "--top-k",
        metavar="K",
        help="Sample from the K most likely tokens; 0 turns it off. Default: the model's recommendation, otherwise 40.",
    ),
]
TopP = Annotated[
    float | None,
    typer.Option(
        "--top-p",
        metavar="P",
        help="Nucleus sampling: sample from the most likely tokens whose probabilities add up to P; 1 turns it off. "
        "Default: the model's recommendation, otherwise 0.95.",
    ),
]
MinP = Annotated[
    float | None,
    typer.Option(
        "--min-p",
        metavar="P",
        help="Drop tokens less likely than P times the most likely one; 0 turns it off. "
        "Default: the model's recommendation, otherwise 0.05.",
    ),
]
Typical = Annotated[
    float | None,
    typer.Option("--typical", metavar="P", help="Locally typical sampling; 1 turns it off. Default: 1."),
]
RepeatPenalty = Annotated[
    float | None,
    typer.Option(
        "--repeat-penalty",
        metavar="X",
        help="Penalty for repeating recent tokens; 1 turns it off. Default: the model's recommendation, otherwise 1.",
    ),
]
FrequencyPenalty = Annotated[
    float | None,
    typer.Option(
        "--frequency-penalty",
        metavar="X",
        help="Penalty for a recent token, for each time it occurred; 0 turns it off. Default: 0.",
    ),
]
PresencePenalty = Annotated[
    float | None,
    typer.Option(
        "--presence-penalty", metavar="X", help="Penalty for a recent token, once; 0 turns it off. Default: 0."
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        help="Random seed; the same seed gives the same text. Default: a different one each time.",
    ),
]
Stop = Annotated[
    list[str] | None,
    typer.Option("--stop", metavar="TEXT", help="Stop before this text is generated; may be repeated."),
]
ThinkSwitch = Annotated[
    Think,
    typer.Option("--think", help="Turn the model's thinking on or off, if its template can; auto: as it prefers."),
]
ThinkBudget = Annotated[
    int | None,
    typer.Option(
        "--think-budget", metavar="N", min=0, help="Maximum number of thinking tokens per answer. Default: no limit."
    ),
]

# ---- chat and sessions ----------------------------------------------------------------------------------------------

Continue = Annotated[bool, typer.Option("--continue", help="Continue the latest session.")]
SessionId = Annotated[
    str | None,
    typer.Option("--session", metavar="ID", help="Continue this session, or start a new one with this name."),
]
NoSave = Annotated[bool, typer.Option("--no-save", help="Save nothing to disk: no session, history or prompt cache.")]
Thoughts = Annotated[
    ShownThoughts, typer.Option("--thoughts", help="Show thinking in full, as one folded line, or hide it.")
]
Render = Annotated[Rendering, typer.Option("--render", help="Render Markdown; auto: on terminals with colours.")]
FirstQuestion = Annotated[
    str | None, typer.Argument(metavar="QUESTION", help="The first question. Default: none.", show_default=False)
]
FirstFiles = Annotated[
    list[Path] | None,
    typer.Option("-f", "--file", metavar="FILE", help="Send this text file with the first question; may be repeated."),
]
WrapLines = Annotated[
    Wrapping, typer.Option("--wrap", help="Break lines between words on a terminal; off leaves that to the terminal.")
]
ContextEnd = Annotated[
    AtEnd,
    typer.Option("--context-end", help="When the context is full: ask, drop or summarize the oldest turns, or stop."),
]
ToolsFile = Annotated[
    Path | None,
    typer.Option("--tools", metavar="FILE", help="JSON file of functions that the model may call (OpenAI format)."),
]
ToolRun = Annotated[
    str,
    typer.Option(
        "--tool-run",
        metavar="ask|never|CMD",
        help="How function calls run: ask before each, never, or pass every call to the program CMD.",
    ),
]
SessionName = Annotated[
    str, typer.Argument(metavar="ID", help="A session's id, or the beginning of it.", show_default=False)
]
SessionNames = Annotated[
    list[str] | None, typer.Argument(metavar="ID...", help="Sessions' ids, or their beginnings.", show_default=False)
]
AllSessions = Annotated[bool, typer.Option("--all", help="Delete all saved chats.")]
SearchWords = Annotated[
    list[str],
    typer.Argument(metavar="WORDS...", help="Words, in any order and in any case of letters.", show_default=False),
]
ExportForm = Annotated[
    Transcript,
    typer.Option(
        "--format",
        help="md: Markdown; json: all that is known, as --json; openai: messages for OpenAI's API; sharegpt: "
        "ShareGPT's conversations.",
    ),
]
Commands = Annotated[
    bool, typer.Option("--commands", help="Run lines that begin with / as commands also when they come from a pipe.")
]
Markdown = Annotated[bool, typer.Option("--md", help="Write Markdown (the default).")]

# ---- measurements ---------------------------------------------------------------------------------------------------

BenchPrompt = Annotated[
    list[str], typer.Option("-p", "--prompt", metavar="N,N...", help="Prompt lengths in tokens; 0 skips these tests.")
]
BenchAnswer = Annotated[
    list[str],
    typer.Option("-n", "--gen", metavar="N,N...", help="Numbers of tokens to generate; 0 skips these tests."),
]
Depth = Annotated[
    list[str], typer.Option("-d", "--depth", metavar="N,N...", help="Numbers of tokens already in the context.")
]
Repeats = Annotated[int, typer.Option("-r", "--repeats", metavar="N", min=1, help="Number of times to run each test.")]
PromptAndAnswer = Annotated[
    list[str] | None,
    typer.Option(
        "-pg",
        metavar="P,N",
        help="Also time a prompt of P tokens and N generated tokens together; may be repeated. Default: off.",
    ),
]
BenchThreads = Annotated[
    list[str] | None,
    typer.Option(
        "-t", "--threads", metavar="N,N...", help="Thread counts to compare, or auto. Default: one per physical core."
    ),
]
Roofline = Annotated[
    bool, typer.Option("--roofline", help="Measure this machine's peak speeds and say what limits each test.")
]
Baseline = Annotated[
    Path | None,
    typer.Option("--baseline", metavar="FILE", help="Compare with earlier results, written by -o json or -o jsonl."),
]
FailBelow = Annotated[
    str | None,
    typer.Option("--fail-below", metavar="P%", help="Exit with code 10 if a test is more than P percent slower."),
]
Output = Annotated[Layout, typer.Option("-o", "--output", help="Output format: Markdown, JSON, JSON lines or CSV.")]
TextFile = Annotated[
    Path, typer.Argument(metavar="TEXT_FILE", help="The text to score; - reads stdin.", show_default=False)
]
ChunkSize = Annotated[int, typer.Option("-c", "--ctx", metavar="N", min=4, help="Chunk size in tokens.")]
Chunks = Annotated[
    int | None, typer.Option("--chunks", metavar="N", min=1, help="Use only the first N chunks. Default: all.")
]
Reference = Annotated[
    Path,
    typer.Argument(
        metavar="REF", parser=ModelName, help="The reference model, usually the F16 one.", show_default=False
    ),
]
Candidates = Annotated[
    list[Path],
    typer.Argument(
        metavar="CAND...", parser=ModelName, help="Quantized models to compare with it.", show_default=False
    ),
]
ComparedText = Annotated[
    Path | None,
    typer.Option("--text", metavar="FILE", help="Text to measure on; - reads stdin. Default: a short built-in text."),
]
GreedyPrompt = Annotated[
    str | None,
    typer.Option(
        "--prompt", metavar="TEXT", help="Prompt whose greedy answers are compared. Default: a built-in prompt."
    ),
]
MaxKl = Annotated[
    float | None,
    typer.Option(
        "--max-kl", metavar="X", min=0, help="Exit with code 10 if a mean KL divergence is above X nats per token."
    ),
]

# ---- show and tokenize ----------------------------------------------------------------------------------------------

Key = Annotated[
    str | None,
    typer.Argument(metavar="KEY", help="Print the whole value of this metadata key.", show_default=False),
]
Kv = Annotated[bool, typer.Option("--kv", help="List the metadata; with KEY, print its whole value.")]
Tensors = Annotated[bool, typer.Option("--tensors", help="List the tensors: name, format, shape, size.")]
ShowTemplate = Annotated[bool, typer.Option("--template", help="Print the chat template.")]
Fit = Annotated[
    bool,
    typer.Option(
        "--fit", help="Check whether the model fits this machine, at which context size, and how fast it can be."
    ),
]
Text = Annotated[
    str | None,
    typer.Argument(
        metavar="TEXT",
        help="The text; - reads it from stdin. Text piped to stdin is added after it. Default: stdin.",
        show_default=False,
    ),
]
Ids = Annotated[bool, typer.Option("--ids", help="Print only the token ids, on one line.")]
Pieces = Annotated[bool, typer.Option("--pieces", help="Print only the text of each token, one per line.")]
Count = Annotated[bool, typer.Option("--count", help="Print only the number of tokens.")]
NoSpecial = Annotated[
    bool, typer.Option("--no-special", help="Add no BOS or EOS token, and read special tokens in TEXT as plain text.")
]
Decode = Annotated[bool, typer.Option("--decode", help="Decode: TEXT is token ids, print the text they stand for.")]

# ---- imatrix --------------------------------------------------------------------------------------------------------

MatrixModel = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        parser=ModelName,
        help="A model's name or GGUF file; with --stats and no TEXT_FILE, an importance matrix.",
        show_default=False,
    ),
]
MaybeTextFile = Annotated[
    Path | None,
    typer.Argument(metavar="TEXT_FILE", help="Calibration text; - reads stdin.", show_default=False),
]
MatrixFile = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="FILE", help="Output file. Default: MODEL.imatrix.gguf in the current folder."
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an existing output file, or add another text to it.")]
WithOutput = Annotated[bool, typer.Option("--with-output", help="Measure the output tensor, too.")]
MatrixStats = Annotated[bool, typer.Option("--stats", help="Print statistics of each tensor.")]

# ---- convert and quantize -------------------------------------------------------------------------------------------

HFFolder = Annotated[
    Path,
    typer.Argument(
        metavar="SRC", help="A Hugging Face model folder; with --lora, a GGUF file, too.", show_default=False
    ),
]
NewModel = Annotated[Path, typer.Argument(metavar="OUT", help="The GGUF file to write.", show_default=False)]
StoredType = Annotated[
    Stored,
    typer.Option("--type", help="Type of the weight matrices; auto keeps BF16 and Q8_0, and uses F16 for the rest."),
]
Adapters = Annotated[
    list[Path] | None,
    typer.Option(
        "--lora", metavar="ADAPTER", help="Merge this LoRA adapter (PEFT folder or GGUF file); may be repeated."
    ),
]
QuantizeWords = Annotated[
    list[Path],
    typer.Argument(
        metavar="SRC [OUT] TYPE",
        parser=ModelName,
        help="SRC: a model's name, a GGUF file or a Hugging Face folder. OUT: the GGUF file to write. Default: SRC's "
        "name with TYPE, beside SRC. TYPE: the quantization, such as Q4_K_M.",
        show_default=False,
    ),
]
ListTypes = Annotated[
    bool, typer.Option("--list", help="List all types with the bits per weight, file size and memory SRC would have.")
]
TargetSize = Annotated[
    str | None,
    typer.Option("--target-size", metavar="SIZE", help="Choose the best type whose file is at most SIZE, such as 4G."),
]
TensorType = Annotated[
    list[str] | None,
    typer.Option(
        "--tensor-type",
        metavar="PATTERN=TYPE",
        help="Type of the tensors whose name matches PATTERN (a regular expression); may be repeated.",
    ),
]
OutputType = Annotated[
    str | None,
    typer.Option("--output-type", metavar="TYPE", help="Type of the output tensor. Default: chosen by TYPE."),
]
EmbedType = Annotated[
    str | None,
    typer.Option("--embed-type", metavar="TYPE", help="Type of the token embeddings. Default: chosen by TYPE."),
]
Pure = Annotated[
    bool, typer.Option("--pure", help="Use the base type for all tensors, also for those that TYPE gives more bits.")
]
Imatrix = Annotated[
    Path | None,
    typer.Option(
        "--imatrix",
        metavar="FILE",
        help="Importance matrix of llmlocal imatrix or llama-imatrix (GGUF or .dat). Default: none.",
    ),
]
SplitSize = Annotated[
    str | None,
    typer.Option("--split-size", metavar="SIZE", help="Split the output into files of at most SIZE, such as 2G."),
]
EffortLevel = Annotated[
    str,
    typer.Option(
        "--effort", metavar="normal|high", help="high searches longer for a smaller error and reports the gain."
    ),
]
CheckAfter = Annotated[
    bool, typer.Option("--check", help="Afterwards compare the predictions with SRC's on a page of text.")
]
AllowRequantize = Annotated[
    bool, typer.Option("--allow-requantize", help="Quantize already quantized tensors again, which loses quality.")
]
EachTensor = Annotated[bool, typer.Option("-v", "--verbose", help="Print the relative RMSE of each tensor on stderr.")]

# ---- the store and the hub ------------------------------------------------------------------------------------------

Remotes = Annotated[
    list[str], typer.Argument(metavar="MODEL...", help="Model names or hf:org/repo.", show_default=False)
]
Removed = Annotated[
    list[str], typer.Argument(metavar="MODEL...", help="Models, named as llmlocal list shows them.", show_default=False)
]
Verified = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL...",
        help="Models, named as llmlocal list shows them, or GGUF files. Default: all models.",
        show_default=False,
    ),
]
Quant = Annotated[
    str | None,
    typer.Option(
        "--quant",
        metavar="TYPE",
        help="Quantization, such as Q4_K_M. Default: the best one that fits this machine well.",
    ),
]
RemoteFile = Annotated[
    str | None, typer.Option("--file", metavar="PATTERN", help="File in the repository; * and ? match as in a shell.")
]
Revision = Annotated[
    str | None,
    typer.Option("--revision", metavar="REV", help="Branch, tag or commit. Default: the repository's main branch."),
]
Folder = Annotated[
    Path | None,
    typer.Option("--to", metavar="DIR", help="Folder to download to. Default: the Hugging Face cache."),
]
Again = Annotated[bool, typer.Option("--force", help="Download again, even if the model is here.")]
Available = Annotated[bool, typer.Option("--available", help="List the models that can be downloaded by name.")]
AliasName = Annotated[str, typer.Argument(metavar="NAME", help="The alias.", show_default=False)]
AliasTarget = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL, show_default=False)]

# ---- gguf -----------------------------------------------------------------------------------------------------------

SetKey = Annotated[
    str, typer.Argument(metavar="KEY", help="The metadata key, such as general.name.", show_default=False)
]
SetValue = Annotated[
    str | None,
    typer.Argument(metavar="VALUE", help="The new value; @FILE reads it from a text file.", show_default=False),
]
ValueKind = Annotated[
    str | None,
    typer.Option(
        "--type",
        metavar="TYPE",
        help="Type of VALUE: u32, i32, u64, i64, f32, f64, bool, string, ... Default: as it was.",
    ),
]
Remove = Annotated[bool, typer.Option("--remove", help="Remove the key.")]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace FILE itself, once the changed copy is complete.")]
OutFile = Annotated[Path | None, typer.Option("-o", "--output", metavar="OUT", help="The file to write.")]
SplitOut = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="NAME", help="Write NAME-00001-of-0000N.gguf and so on. Default: FILE's own name."
    ),
]
OldTemplate = Annotated[str, typer.Argument(metavar="OLD", help="The template's name.", show_default=False)]
NewTemplate = Annotated[str, typer.Argument(metavar="NEW", help="The new name.", show_default=False)]
PartSize = Annotated[
    str, typer.Argument(metavar="SIZE", help="Maximum size of a file's tensors, such as 2G.", show_default=False)
]
MergedFile = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="OUT", help="The file to write. Default: FILE's own name without -00001-of-0000N."
    ),
]
HashedFiles = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", parser=ModelName, help="GGUF files, or models' names.", show_default=False),
]
OtherFile = Annotated[Path, typer.Argument(metavar="OTHER", help="The GGUF file to compare with.", show_default=False)]

# ---- help and completion --------------------------------------------------------------------------------------------

Shell = Annotated[
    ShellName,
    typer.Argument(
        metavar="SHELL", help="bash, zsh, fish or powershell (words is for the scripts).", show_default=False
    ),
]
Words = Annotated[list[str] | None, typer.Argument(hidden=True)]
HelpWords = Annotated[
    list[str] | None,
    typer.Argument(metavar="COMMAND...", help="The command. Default: list all commands.", show_default=False),
]

# ---- vectors --------------------------------------------------------------------------------------------------------

Texts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TEXT...", help="Texts, one each; - reads lines from stdin. Default: stdin.", show_default=False
    ),
]
TextFiles = Annotated[
    list[Path] | None,
    typer.Option("-f", "--file", metavar="FILE", help="Read texts from this file, a line each; may be repeated."),
]
Split = Annotated[
    str,
    typer.Option(
        "--split",
        metavar="line|paragraph|N",
        help="What is a text in files and stdin: a line, a paragraph, or N tokens of the whole.",
    ),
]
PoolingKind = Annotated[
    Pooling | None,
    typer.Option(
        "--pooling",
        help="The vector of a text: the mean of its tokens, the first (cls) or the last. Default: the model's own.",
    ),
]
Normalize = Annotated[
    bool | None,
    typer.Option("--normalize/--no-normalize", help="Scale vectors to length 1. Default: as the model says."),
]
Dimensions = Annotated[
    int | None,
    typer.Option(
        "--dimensions", metavar="N", min=1, help="Keep the first N numbers of each vector. Default: all of them."
    ),
]
PromptName = Annotated[
    str | None,
    typer.Option(
        "--prompt-name", metavar="NAME", help="Put this prompt of the model before each text. Default: the model's own."
    ),
]
Truncate = Annotated[
    bool, typer.Option("--truncate", help="Cut texts that are too long. By default they are an error.")
]
VectorsFormat = Annotated[
    VectorLayout,
    typer.Option("--format", help="JSON lines, a NumPy file, comma-separated numbers, or raw little-endian float32."),
]
TextLimit = Annotated[
    int | None,
    typer.Option(
        "-c", "--ctx", metavar="N", min=1, help="Tokens of a text at most. Default: the model's own, at most 8192."
    ),
]
Query = Annotated[str, typer.Argument(metavar="QUERY", help="What the texts should answer.", show_default=False)]
Top = Annotated[int | None, typer.Option("--top", metavar="K", min=1, help="Print only the K best. Default: all.")]
MaskedText = Annotated[
    str, typer.Argument(metavar="TEXT", help="A text with one or more gaps, written [MASK].", show_default=False)
]
TopWords = Annotated[int, typer.Option("--top", metavar="K", min=1, help="How many words to print for each gap.")]
