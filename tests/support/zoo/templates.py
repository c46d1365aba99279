"""Chat templates with what the templates of models use."""

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LOUD = CHATML.replace("m.content", "m.content | upper")
SPECIALS = "{{ bos_token }}{{ eos_token }}[{{ pad_token }}][{{ unk_token }}]" + CHATML
TOJSON = (
    "{{ messages | tojson }}{{ messages | tojson(indent=2) }}"
    "{{ {'b': 1, 'a': '汉'} | tojson(ensure_ascii=True, sort_keys=True, separators=(',', ':')) }}"
    "{{ {'b': 1, 'a': '<&>'} | tojson(ensure_ascii=False) }}" + CHATML
)
GENERATION_BLOCKS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ m.content }}<|im_end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
REFUSES_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    + CHATML
)
LOOPS = (
    "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% if loop.index > 2 %}{% break %}{% endif %}{% endfor %}<|im_start|>assistant\n"
)
MACROS = (
    "{% macro turn(role, text) -%}<|im_start|>{{ role }}\n{{ text }}<|im_end|>\n{%- endmacro %}"
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
    "{{ turn(m['role'], m.get('content', '') | trim) }}\n{% endfor %}{{ ns.n }}"
    "<|im_start|>assistant\n"
)
WHITE_SPACE = """
{% for m in messages %}
    {% if m.role == 'user' %}
<|im_start|>user
{{ m.content }}<|im_end|>
    {% else %}
  <|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
    {% endif %}
{% endfor %}
    <|im_start|>assistant
"""
DEFINED = (
    "{% if tools is not none and tools %}tools{% endif %}{% if documents %}documents{% endif %}"
    "{% if bos_token is defined and bos_token %}bos{% endif %}"
    "{% if enable_thinking is defined %}{{ enable_thinking }}{% else %}unset{% endif %}" + CHATML
)
SLICES = (
    "{% set rest = messages[1:] %}{% if messages[0].role != 'system' %}{% set rest = messages %}"
    "{% endif %}{% for m in rest %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'].strip() }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
DATE = "{{ strftime_now('%Y') }}" + CHATML
OTHER_END = CHATML.replace("<|im_end|>", "<|box_end|>")
TEXT_END = CHATML.replace("<|im_end|>", "###")
