//! An agent with tools, its loop recorded: what the model was asked, which tools it called, and what
//! that cost. A stand-in for the model runs offline: it reads the conversation and works out
//! which tool to call next, by the rules of arithmetic.
//!
//! It prints:
//!
//! ```text
//! (17 + 4) * 3 - 8 / 2 = 59
//! 5 calls of sketch-1, 4 of tools: add, multiply, divide, subtract
//! 105 tokens in, of these 78 cached, 11 out: 0.000164 usd
//! division by zero: the tool failed, and the agent said so
//! ```

use emberlog::{
    analysis::Analyzer,
    instrument::{Agent, GraphRun, Observer, Price, Prices, Tokens},
    Config, Filter, Manager, Order, SpanKind, Status,
};

/// A tool that divides by zero.
#[derive(Debug)]
struct DivisionByZero;

impl std::fmt::Display for DivisionByZero {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("division by zero")
    }
}

impl std::error::Error for DivisionByZero {}

/// What the model wants.
enum Reply {
    /// A tool, its arguments, and where in the expression its result belongs.
    Call(&'static str, i64, i64, usize),
    Answer(i64),
}

/// The stand-in: words are its tokens, and what it was asked before is in its cache.
fn model(conversation: &[String], seen: usize) -> (Reply, Tokens) {
    let expression: Vec<&str> = conversation
        .last()
        .expect("a question")
        .split(' ')
        .collect();
    let words = |texts: &[String]| texts.iter().map(|t| t.split(' ').count()).sum::<usize>() as u64;
    let reply = next(&expression);
    let tokens = Tokens {
        input: words(conversation),
        cached_input: words(&conversation[..seen]),
        output: match reply {
            Reply::Call(..) => 2,
            Reply::Answer(_) => 3,
        },
    };
    (reply, tokens)
}

/// The first operation to do: inside the innermost parentheses, points before lines.
fn next(expression: &[&str]) -> Reply {
    if let [number] = expression {
        return Reply::Answer(number.parse().expect("a number"));
    }
    let close = expression.iter().position(|word| *word == ")");
    let close = close.unwrap_or(expression.len());
    let open = expression[..close].iter().rposition(|word| *word == "(");
    let open = open.map_or(0, |at| at + 1);
    let inner = &expression[open..close];
    let of = |wanted: [&str; 2]| inner.iter().position(|word| wanted.contains(word));
    let at = of(["*", "/"])
        .or_else(|| of(["+", "-"]))
        .expect("an operation");
    let tool = match inner[at] {
        "*" => "multiply",
        "/" => "divide",
        "+" => "add",
        _ => "subtract",
    };
    let number = |at: usize| inner[at].parse().expect("a number");
    Reply::Call(tool, number(at - 1), number(at + 1), open + at)
}

fn use_tool(tool: &str, a: i64, b: i64) -> Result<i64, DivisionByZero> {
    Ok(match tool {
        "multiply" => a * b,
        "divide" => a.checked_div(b).ok_or(DivisionByZero)?,
        "add" => a + b,
        _ => a - b,
    })
}

/// The question with the operation at `at` replaced by its result.
fn replaced(question: &str, at: usize, result: i64) -> String {
    let mut words: Vec<String> = question.split(' ').map(str::to_owned).collect();
    words.splice(at - 1..=at + 1, [result.to_string()]);
    // Parentheses around a single number go.
    while let Some(at) = words.windows(3).position(|w| w[0] == "(" && w[2] == ")") {
        words.remove(at + 2);
        words.remove(at);
    }
    words.join(" ")
}

/// The loop of the agent: ask, do what the model wants, tell it the result.
fn solve(run: &GraphRun, prices: &Prices, question: &str) -> Result<i64, DivisionByZero> {
    let agent = Agent::new(run.run(), "calculator")
        .provider("offline")
        .prices(prices);
    let _below_the_graph = run.enter();
    let mut conversation = vec![question.to_owned()];
    let mut seen = 0;
    loop {
        let step = agent.step("think and act");
        let mut call = agent.llm_call("sketch-1");
        let (reply, tokens) = model(&conversation, seen);
        call.tokens(tokens);
        call.ok();
        seen = conversation.len();
        match reply {
            Reply::Answer(answer) => {
                step.ok();
                return Ok(answer);
            }
            Reply::Call(tool, a, b, at) => {
                let result = agent.call_tool(tool, |tool_call| {
                    tool_call.input(&(a, b));
                    use_tool(tool, a, b)
                });
                step.end_with(&result);
                let last = conversation.last().expect("a question");
                conversation.push(replaced(last, at, result?));
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = Manager::open(Config::create_memory().capture_inputs(true))?;
    let graph = Observer::new(&manager, "calculator").graph_type("agent");
    let prices = Prices::new().model("sketch", Price::new(3.0, 4.0).cached(0.5));

    let run = graph.start();
    let question = "( 17 + 4 ) * 3 - 8 / 2";
    let answer = solve(&run, &prices, question);
    run.end_with(&answer);
    println!(
        "{} = {}",
        question.replace("( ", "(").replace(" )", ")"),
        answer?
    );

    let all = Filter::new().order(Order::Oldest).all();
    let spans = manager.query_spans(&all)?;
    let tools = spans.iter().filter(|span| span.kind == SpanKind::ToolCall);
    let tools: Vec<_> = tools
        .filter_map(|span| span.attributes.get("gen_ai.tool.name")?.as_str())
        .collect();
    let reader = manager.reader()?.expect("it records");
    let report = Analyzer::new().min_executions(1).log(&reader)?.report;
    let report = report.expect("one execution is enough");
    let model = &report.models[0];
    let (calls, name) = (model.calls, &model.model);
    println!(
        "{calls} calls of {name}, {} of tools: {}",
        tools.len(),
        tools.join(", ")
    );
    let cached = "gen_ai.usage.cache_read.input_tokens";
    let cached = spans
        .iter()
        .filter_map(|span| span.attributes.get(cached)?.as_f64());
    println!(
        "{} tokens in, of these {} cached, {} out: {:.6} usd",
        model.input_tokens,
        cached.sum::<f64>(),
        model.output_tokens,
        report.total_cost.unwrap_or(0.0),
    );

    let run = graph.start();
    let answer = solve(&run, &prices, "1 / 0");
    run.end_with(&answer);
    let failed = manager.query_spans(&Filter::new().status(Status::Error).all())?;
    let tool = failed.iter().find(|span| span.kind == SpanKind::ToolCall);
    let error = tool.and_then(|span| span.error.as_ref()).expect("an error");
    println!("{}: the tool failed, and the agent said so", error.message);
    Ok(())
}
