"""What real chat templates use, each feature in a template of its own."""

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
"""Source by name."""
