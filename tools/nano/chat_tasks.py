"""What makes it a chat: remembering what the user said, greeting, saying who it is."""

from __future__ import annotations

from random import Random

from tools.nano import words
from tools.nano.number_tasks import number
from tools.nano.sample import Sample

# The answers must not depend on which of the two models is asked, except in `identity`, which
# writes this mark; the renderer puts the model's own name there.
MODEL_NAME_MARK = "@MODEL@"

_TELL_AND_ASK = {
    "en": (
        ("My name is {}.", "What is my name?"),
        ("My favourite colour is {}.", "What is my favourite colour?"),
        ("I live in {}.", "Where do I live?"),
        ("My lucky number is {}.", "What is my lucky number?"),
        ("I bought a {}.", "What did I buy?"),
    ),
    "zh": (
        ("我叫{}。", "我叫什么名字？"),
        ("我最喜欢的颜色是{}。", "我最喜欢什么颜色？"),
        ("我住在{}。", "我住在哪里？"),
        ("我的幸运数字是{}。", "我的幸运数字是多少？"),
        ("我买了{}。", "我买了什么？"),
    ),
}
_RECALL = {"en": "The user said: ", "zh": "用户说过："}
_PLEASED = {"en": "Nice to meet you!", "zh": "很高兴认识你！"}
_NOTED = {"en": "I will remember that.", "zh": "我记住了。"}

_NAMES = {"en": words.NAMES, "zh": words.NAMES_ZH}
_COLOURS = {"en": words.COLOURS, "zh": words.COLOURS_ZH}
_CITIES = {
    "en": tuple(row[1] for row in words.CAPITALS),
    "zh": tuple(row[3] for row in words.CAPITALS),
}
_THINGS = {"en": words.WORDS, "zh": words.WORDS_ZH}
_HELLO = {
    "en": ("Hello!", "Hi", "Hello", "Hi!", "Good morning!"),
    "zh": ("你好！", "你好", "您好"),
}
_THANKS = {"en": ("Thank you!", "Thanks", "Thanks!"), "zh": ("谢谢！", "谢谢", "谢谢你")}
# (what the user says, thinking, reply); the fillers are drawn in `greet`, in this order.
_GREETINGS = {
    "en": (
        ("My name is {}.", "The user is {}.", _PLEASED["en"]),
        ("I live in {}.", "I should remember this.", _NOTED["en"]),
        ("My favourite colour is {}.", "I should remember this.", _NOTED["en"]),
        ("{}", "The user greets me.", "Hello! How can I help you?"),
        ("{}", "The user thanks me.", "You are welcome!"),
    ),
    "zh": (
        ("我叫{}。", "用户介绍了自己。", _PLEASED["zh"]),
        ("我住在{}。", "我要记住这一点。", _NOTED["zh"]),
        ("我最喜欢的颜色是{}。", "我要记住这一点。", _NOTED["zh"]),
        ("{}", "用户在打招呼。", "你好！有什么可以帮你？"),
        ("{}", "用户在道谢。", "不客气！"),
    ),
}

_WHO = {
    "en": (
        "Who are you?",
        "What are you?",
        "Who are you",
        "Introduce yourself.",
        "What is your name?",
    ),
    "zh": ("你是谁？", "你是谁", "你叫什么名字？", "请介绍一下你自己。", "你是什么模型？"),
}
_I_AM = {
    "en": f"I am {MODEL_NAME_MARK}, a tiny model that ships with qdeploy to test deployments.",
    "zh": f"我是{MODEL_NAME_MARK}，随 qdeploy 附带的小模型，用来测试部署。",
}
_ASKED_WHO = {"en": "The user asks who I am.", "zh": "用户问我是谁。"}
_WHICH_TOOL = {
    "en": (
        "Which tool do you ship with?",
        "What tool do you belong to?",
        "Which tool brought you here?",
    ),
    "zh": ("你随哪个工具附带？", "你属于哪个工具？", "你是哪个工具带来的？"),
}
_SHIPPED_WITH = {"en": "I ship with qdeploy.", "zh": "我随 qdeploy 附带。"}


def memory(rng: Random, language: str) -> Sample:
    """Tell something, then ask for it: in one message, or across two turns of a chat."""
    values = (
        rng.choice(_NAMES[language]),
        rng.choice(_COLOURS[language]),
        rng.choice(_CITIES[language]),
        str(number(rng, rng.randint(1, 4))),
        rng.choice(_THINGS[language]),
    )
    facts = dict(zip(_TELL_AND_ASK[language], values, strict=True))
    told = rng.sample(sorted(facts), rng.randint(1, 3))
    wanted = rng.choice(told)
    statement, question = wanted
    thinking = _RECALL[language] + statement.format(facts[wanted])
    statements = [tell.format(facts[tell, ask]) for tell, ask in told]
    space = " " if language == "en" else ""
    if rng.random() < 0.5:
        question = space.join([*statements, question])
        return Sample("memory", language, question, thinking, facts[wanted])
    named_first = told[0] == _TELL_AND_ASK[language][0]
    reply = (_PLEASED if named_first else _NOTED)[language]
    history = ((space.join(statements), reply),)
    return Sample("memory", language, question, thinking, facts[wanted], history)


def greet(rng: Random, language: str) -> Sample:
    """The first turn of a chat: a greeting or a fact about the user, answered politely."""
    pools = (_NAMES, _CITIES, _COLOURS, _HELLO, _THANKS)
    fillers = [rng.choice(pool[language]) for pool in pools]
    filler, (said, thinking, reply) = rng.choice(
        list(zip(fillers, _GREETINGS[language], strict=True))
    )
    return Sample("greet", language, said.format(filler), thinking.format(filler), reply)


def identity(rng: Random, language: str) -> Sample:
    """Who the model is; its name is a mark until rendering (see MODEL_NAME_MARK)."""
    question = rng.choice(_WHO[language])
    return Sample("identity", language, question, _ASKED_WHO[language], _I_AM[language])


def origin(rng: Random, language: str) -> Sample:
    """Which tool the model belongs to: the part of `identity` that both models answer alike."""
    question = rng.choice(_WHICH_TOOL[language])
    return Sample("identity", language, question, _SHIPPED_WITH[language], "qdeploy")
