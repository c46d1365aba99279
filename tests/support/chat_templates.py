"""Chat templates with what real ones use, by the model or the feature that they stand for."""

from __future__ import annotations

from typing import Any

Chat = list[dict[str, Any]]

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "What is 2 + 2?"}
ANSWER = {"role": "assistant", "content": "<think>\nEasy.\n</think>\n\nIt is 4."}
AGAIN = {"role": "user", "content": " And <b>3 + 3</b>? 你好 🙂 "}

CHATS: dict[str, Chat] = {
    "one turn": [USER],
    "system": [SYSTEM, USER],
    "three turns": [USER, ANSWER, AGAIN],
    "all": [SYSTEM, USER, ANSWER, AGAIN],
    "two of one role": [USER, AGAIN],
    "answered": [USER, ANSWER],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    "no content": [USER, {"role": "assistant", "content": None}, AGAIN],
    "tool call": [
        USER,
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "add", "arguments": {"b": 2, "a": "é"}}}],
        },
        {"role": "tool", "content": "4"},
    ],
}

CHATML = """\
{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}\
{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}\
{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

QWEN_2_5 = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) \
or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

LLAMA_3_1 = """\
{{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'
        + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

LLAMA_2 = """\
{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}\
{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}\
{% set system_message = false %}{% endif %}{% for message in loop_messages %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception(\
'Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
{% if loop.index0 == 0 and system_message != false %}\
{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}\
{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}\
{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}\
{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}\
{% endif %}{% endfor %}"""

MISTRAL = """\
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or (message.tool_calls is defined and \
message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, conversation roles must \
alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token }}
    {%- endif %}
{%- endfor %}
"""

GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}\
{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/...') }}{% endif %}\
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}\
{% set role = message['role'] %}{% endif %}\
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}\
{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"""

GEMMA_3 = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {{ '<start_of_turn>' + message['role'] + '\\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\\n'}}
{%- endif -%}
"""

PHI_4 = """\
{% for message in messages %}{% if (message['role'] == 'system') %}\
{{'<|im_start|>system<|im_sep|>' + message['content'] + '<|im_end|>'}}\
{% elif (message['role'] == 'user') %}\
{{'<|im_start|>user<|im_sep|>' + message['content'] + '<|im_end|>'}}\
{% elif (message['role'] == 'assistant') %}\
{% generation %}{{'<|im_start|>assistant<|im_sep|>' + message['content'] + '<|im_end|>'}}\
{% endgeneration %}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"""

DEEPSEEK_R1 = """\
{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}\
{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='') %}\
{%- for message in messages %}{%- if message['role'] == 'system' %}\
{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}\
{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}\
{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}\
{{'<｜User｜>' + message['content']}}{%- endif %}\
{%- if message['role'] == 'assistant' and message['content'] is not none %}\
{% set content = message['content'] %}{% if '</think>' in content %}\
{% set content = content.split('</think>')[-1] %}{% endif %}\
{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}{%- endif %}{%- endfor -%}\
{% if add_generation_prompt and not ns.is_tool %}{{'<｜Assistant｜><think>\\n'}}{% endif %}"""

FEATURES = {
    "no escaping": "{{ messages[-1].content }}{{ '<b>&' }}{{ '<i>' | e }}",
    "tojson": "{{ messages | tojson }}",
    "tojson ascii": "{{ messages[-1] | tojson(ensure_ascii=True) }}",
    "tojson indent": "{{ messages[-1] | tojson(indent=4) }}",
    "tojson separators": "{{ {'b': [1, 2], 'a': none} | tojson(separators=(',', ':')) }}",
    "tojson sorted": "{{ {'b': 1.5, 'a': true} | tojson(sort_keys=True, indent=2) }}",
    "tojson by position": "{{ {'é': 1} | tojson(true, 1) }}",
    "tojson of what is no JSON": "{{ range(2) | tojson }}",
    "strftime_now": "{{ strftime_now('%Y') }} {{ strftime_now('%d %B') }}",
    "raise_exception": "{{ raise_exception('System role not supported') }}",
    "break and continue": (
        "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}"
        "{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}"
    ),
    "generation": (
        "{%- for m in messages %}\n  {%- generation %}\n  {{ m.role }}\n  {%- endgeneration %}\n"
        "{%- endfor %}"
    ),
    "generation and variables": (
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% generation %}"
        "{% set ns.n = ns.n + 1 %}{% set x = loop.index %}{{ x }}{% endgeneration %}{{ x }}"
        "{% endfor %}{{ ns.n }}"
    ),
    "macros": (
        "{% macro turn(role, text='-') -%}\n  <{{ role }}>{{ text }}{{ caller() if caller }}\n"
        "{%- endmacro %}{% for m in messages %}{{ turn(m.role, m.content) }}{% endfor %}"
        "{% call turn('x') %}inside{% endcall %}{{ turn('y') }}"
    ),
    "namespaces": (
        "{% set ns = namespace(last=none) %}{% for m in messages[::-1] %}"
        "{% if ns.last is none and m.role == 'user' %}{% set ns.last = loop.revindex0 %}"
        "{% endif %}{% endfor %}{{ ns.last }}"
    ),
    "white space": (
        "  {% if true %}\n  a\n\n  {% endif %}\n{#- note -#}\n  b  {{- 'c' -}}  \n d\n\n"
    ),
    "white space kept": "{%+ if true %}\n x{% endif +%}\n\ty\n",
    "undefined": "[{{ nothing }}{{ messages[0].nothing }}]{{ nothing is defined }}",
    "undefined attribute": "{{ nothing.at.all }}",
    "special tokens": (
        "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token }}|{{ sep_token }}|"
        "{{ cls_token is defined }}|{{ mask_token or 'none' }}|{{ image_token }}"
    ),
    "what is there": (
        "{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}"
        "{{ enable_thinking is defined }}{{ tools is defined }}{{ custom_tools is defined }}"
    ),
    "filters": (
        "{{ messages | map(attribute='role') | join(', ') }}{{ '  a ' | trim | upper }}"
        "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
        "{{ ('a\nb' | indent(2)) }}{{ 'abc'[1:] }}{{ [3, 1] | sort }}{{ 'x' * 3 }}"
        "{{ {'a': 1}.items() | list }}{{ messages[0] | length }}{{ 5 // 2 }}{{ '%s!' % 'a' }}"
    ),
    "string methods": (
        "{{ ' a '.strip() + 'b'.upper() + 'x</think>y'.split('</think>')[-1].lstrip('\\n') }}"
        "{{ 'abc'.startswith('a') }}{{ '{}'.format(3) }}{{ 'a-b'.replace('-', '+') }}"
    ),
    "tests": (
        "{% for m in messages %}{{ m.content is string }}{{ m.content is mapping }}"
        "{{ m.content is sequence }}{{ m.tool_calls is defined }}{{ 'role' in m }}{% endfor %}"
    ),
    "a change of the chat": "{{ messages.append(1) }}",
    "a fault": "{% for message in %}",
    "a break without a loop": "{% break %}",
    "line ends": "{% for m in messages %}\r\n{{ m.role }}\r\n{% endfor %}\r\n",
    "raw": "{% raw %}{{ not rendered }}{% endraw %}{# nor this #}",
    "loops": (
        "{% for m in messages if m.role != 'system' %}{{ loop.index }}{{ loop.last }}"
        "{{ loop.previtem.role }}{{ loop.cycle('a', 'b') }}{% else %}none{% endfor %}"
    ),
}  # fmt: skip

TEMPLATES = {
    "ChatML": CHATML, "Qwen2.5": QWEN_2_5, "Llama 2": LLAMA_2, "Llama 3.1": LLAMA_3_1,
    "Mistral": MISTRAL, "Gemma 2": GEMMA, "Gemma 3": GEMMA_3, "Phi-4": PHI_4,
    "DeepSeek-R1": DEEPSEEK_R1, **FEATURES,
}  # fmt: skip
"""Source by name."""
