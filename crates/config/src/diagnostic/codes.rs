//! The stable codes of diagnostics, with cause and remedy.

/// A kind of fault.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// Its name, `UPPER_SNAKE`; never changes.
    pub name: &'static str,
    /// What it means.
    pub cause: &'static str,
    /// What to do, where a diagnostic does not say it better.
    pub remedy: &'static str,
}

macro_rules! codes {
    ($($name:ident: $cause:literal, $remedy:literal;)*) => {
        $(#[doc = $cause] pub static $name: Code = Code { name: stringify!($name), cause: $cause, remedy: $remedy };)*

        /// All codes, by name.
        pub static ALL: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    BAD_ADDRESS: "An address of `connect`, `listen` or `url` cannot be understood.",
        "Write `host:port`, `unix:/path`, or an absolute http or https URL.";
    BAD_COMMAND: "A command is empty or its quotes do not match.",
        "Write the program and its arguments, as one string or as a list.";
    BAD_EXPRESSION: "A CEL expression cannot be compiled.",
        "Correct it; an expression sees `data`, `event` and `ext`.";
    BAD_FILE_NAME: "A name of an input or output file cannot be used.",
        "Use different, relative names inside the working folder.";
    BAD_NAME: "A name has characters that names cannot have.",
        "Use lower-case letters, digits, `_` and `-`, beginning with a letter.";
    BAD_PATH: "A path or glob pattern cannot be used.",
        "Write a path relative to the pipeline file, or a pattern with `*`, `?` and `[...]`.";
    BAD_PLACEHOLDER: "A placeholder of a command names something that is not there.",
        "Use {input}, {input.UPSTREAM}, {output}, {dir}, {scratch} or {batch}.";
    BAD_UNIT: "A time, size or rate has no unit or one that is unknown.",
        "Write a time as `10s` or `50ms`, a size as `64MiB`, a rate as `1/s`.";
    COMMAND_NOT_EXECUTABLE: "The file of a command has no run bit.",
        "Set it with `chmod +x FILE`, or run it with its interpreter: [bash, FILE].";
    COMMAND_NOT_FOUND: "A command with a slash names a file that does not exist.",
        "Correct the path; it starts at the node's `dir`.";
    CWD_SHARED: "Several replicas of an exec node would write into the same folder.",
        "Set `cwd: scratch` or `replicas: 1`.";
    CYCLE: "Events would go round for ever.",
        "Remove one of the edges of the cycle.";
    DIR_NOT_FOUND: "A node's `dir` is not a folder.",
        "Correct the path; it starts at the folder of the pipeline file.";
    DUPLICATE_KEY: "A key stands twice in one map.",
        "Remove one of the two.";
    DUPLICATE_UPSTREAM: "A node names the same upstream twice.",
        "Join the conditions with `||` in one entry.";
    EMPTY: "Something that needs at least one element has none.",
        "Add one.";
    FILE_UNREADABLE: "The pipeline file cannot be read.",
        "Check its path and permissions; it must be UTF-8 text of at most 1 MiB.";
    JOURNAL_TOO_SMALL: "`journal: { size }` is less than four of the largest events.",
        "Raise it, or lower `max_event`.";
    KEY_NOT_APPLICABLE: "A key does not apply to this kind of node.",
        "Remove it.";
    MEMORY_TOO_SMALL: "`memory` leaves a source less than four of the largest events.",
        "Raise `memory`, or lower `max_event`, `batch.bytes` or `replicas`.";
    MISSING_KEY: "A key that is needed is not there.",
        "Add it.";
    NODE_KIND: "A node must have exactly one of `run`, `connect`, `exec` and `use`.",
        "Say what realises the node, once.";
    NOT_YET: "The file asks for something that this version cannot do.",
        "Remove the key; a later version will accept it.";
    OUT_OF_RANGE: "A number is outside its range.",
        "Choose one inside the range.";
    PLAINTEXT_REMOTE: "A node on another machine would be spoken to without encryption.",
        "Use a loopback address, or set MESHLOOM_INSECURE=1 on a network that you trust.";
    PORT_TAKEN: "Two sources listen on one port.",
        "Give each a port of its own.";
    QUEUE_TOO_SMALL: "A queue cannot hold one batch.",
        "Make `queue` at least as large as `batch`; twice as large keeps the node busy.";
    RESERVED_NAME: "A name has a meaning of its own.",
        "Choose another name.";
    ROUTE_CONFLICT: "A route is discarded and wired at once.",
        "Remove it from `routes`, or remove the edge.";
    SHELL_CHARACTER: "A command string has a character that only a shell would understand; no shell runs it.",
        "Quote it, or run a shell: [sh, -c, '...'].";
    UNKNOWN_CONNECTOR: "There is no built-in connector of this name.",
        "Use one of the built-in connectors.";
    UNKNOWN_KEY: "There is no such key here.",
        "Correct or remove it; a key of your own begins with `x-`.";
    UNKNOWN_NODE: "`from` names a node that is not there.",
        "Name one of the nodes of this file.";
    UNKNOWN_VALUE: "A value is not one of those that its key knows.",
        "Use one of them.";
    UNMATCHED_WITHOUT_WHEN: "An edge takes what no conditional edge took, but there is no conditional edge.",
        "Use the node's name alone, or add `when` to another of its edges.";
    UNREACHABLE: "No event can ever reach this node.",
        "Connect it to a source.";
    VARIABLE_SYNTAX: "A `${...}` cannot be understood.",
        "Write `${NAME}`, `${NAME:-default}` or `${NAME:?message}`; `$$` is a dollar sign.";
    VARIABLE_UNSET: "A variable is not set in the environment.",
        "Set it, or give a default: `${NAME:-default}`.";
    WRONG_ROLE: "A source is used as a sink, or a sink as a source.",
        "Check `from` of this node and of those that name it.";
    WRONG_TYPE: "A value has the wrong type.",
        "Write the value as its key needs it.";
    YAML_SYNTAX: "The file is not valid YAML.",
        "Check indentation, quotes and brackets at this place.";
    YAML_UNSUPPORTED: "The file uses a part of YAML that a pipeline file does not have.",
        "Use one document of plain maps, lists and scalars; anchors and merge keys are fine.";
}
