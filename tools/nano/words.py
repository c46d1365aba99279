"""The closed vocabulary of the generated questions: words, names, facts, rare characters."""

from __future__ import annotations

WORDS = tuple(
    """apple banana bread bridge butter camera candle carrot castle cheese cherry circle cloud
    coffee copper cotton dragon eagle engine farmer father finger flower forest garden ginger
    grape green hammer harbor honey horse house island jacket jungle kitten ladder lemon letter
    little mango market melon mirror monkey mother mountain needle number ocean orange paper
    pepper pencil people pillow planet pocket potato puzzle rabbit rainbow river robot rocket
    school season shadow silver simple sister spoon spring stone street strawberry sugar summer
    sunset table temple tiger tomato tower train tree tunnel turtle valley velvet violet water
    whale window winter wizard yellow zebra book cat dog sun moon star rain snow wind fire tea
    milk fish bird leaf rose ship boat road hill lake door key ring cup map pen box""".split()
)

WORDS_ZH = tuple(
    """苹果 香蕉 面包 大桥 黄油 相机 蜡烛 萝卜 城堡 奶酪 樱桃 圆圈 白云 咖啡 花园 森林 手指 葡萄
    锤子 蜂蜜 房子 岛屿 梯子 柠檬 信件 市场 镜子 猴子 高山 海洋 橙子 纸张 铅笔 枕头 行星 口袋 土豆
    兔子 彩虹 河流 火箭 学校 影子 姐妹 勺子 春天 石头 街道 白糖 夏天 桌子 老虎 番茄 火车 大树 乌龟
    山谷 清水 鲸鱼 窗户 冬天 斑马 书本 小猫 小狗 太阳 月亮 星星 雨水 雪花""".split()
)

NAMES = tuple(
    """Ann Ben Carl Dana Emma Finn Grace Hugo Ivan Julia Karen Leo Mia Nina Oscar Paula Rosa Sam
    Tom Vera Will Zoe""".split()
)
NAMES_ZH = tuple(
    "小明 小红 小刚 小丽 小华 小芳 李雷 韩梅 王伟 张敏 刘洋 陈静 赵磊 周涛 吴娟".split()
)

COLOURS = tuple("red blue green yellow white black pink purple orange brown".split())
COLOURS_ZH = tuple("红色 蓝色 绿色 黄色 白色 黑色 粉色 紫色 橙色 棕色".split())

# Emoji and rarer characters: too rare in the tokenizer's corpus to become one token each, so
# streaming has to hold back half a character, as it must with any real tokenizer.
RARE = tuple("😀😂🚀🌍🍎🎉🐱🐶🌈🔥⭐🎵🍕⚽🏠🌻🐼🦊🍓🎁💡📚🛠🧩")
RARE_ZH = tuple("龘饕餮麒麟魑魅魍魉鼹犇淼焱垚鑫骉麤羴翀曌夔鬯彧")

# English question word and answer, then the same in Chinese.
Row = tuple[str, str, str, str]

CAPITALS: tuple[Row, ...] = (
    ("France", "Paris", "法国", "巴黎"),
    ("Germany", "Berlin", "德国", "柏林"),
    ("Italy", "Rome", "意大利", "罗马"),
    ("Spain", "Madrid", "西班牙", "马德里"),
    ("Japan", "Tokyo", "日本", "东京"),
    ("China", "Beijing", "中国", "北京"),
    ("Russia", "Moscow", "俄罗斯", "莫斯科"),
    ("Egypt", "Cairo", "埃及", "开罗"),
    ("Greece", "Athens", "希腊", "雅典"),
    ("Portugal", "Lisbon", "葡萄牙", "里斯本"),
    ("Austria", "Vienna", "奥地利", "维也纳"),
    ("Poland", "Warsaw", "波兰", "华沙"),
    ("Norway", "Oslo", "挪威", "奥斯陆"),
    ("Sweden", "Stockholm", "瑞典", "斯德哥尔摩"),
    ("Canada", "Ottawa", "加拿大", "渥太华"),
    ("Cuba", "Havana", "古巴", "哈瓦那"),
    ("Peru", "Lima", "秘鲁", "利马"),
    ("Thailand", "Bangkok", "泰国", "曼谷"),
    ("Vietnam", "Hanoi", "越南", "河内"),
    ("Kenya", "Nairobi", "肯尼亚", "内罗毕"),
)

OPPOSITES: tuple[Row, ...] = (
    ("hot", "cold", "热", "冷"),
    ("big", "small", "大", "小"),
    ("tall", "short", "高", "矮"),
    ("fast", "slow", "快", "慢"),
    ("new", "old", "新", "旧"),
    ("open", "closed", "开", "关"),
    ("bright", "dark", "明", "暗"),
    ("early", "late", "早", "晚"),
    ("heavy", "light", "重", "轻"),
    ("wet", "dry", "湿", "干"),
    ("hard", "soft", "硬", "软"),
    ("rich", "poor", "富", "穷"),
    ("strong", "weak", "强", "弱"),
    ("left", "right", "左", "右"),
    ("up", "down", "上", "下"),
    ("black", "white", "黑", "白"),
)

COLOUR_OF: tuple[Row, ...] = (
    ("a ripe tomato", "red", "成熟的番茄", "红色"),
    ("the clear sky", "blue", "晴朗的天空", "蓝色"),
    ("grass", "green", "草", "绿色"),
    ("a ripe banana", "yellow", "成熟的香蕉", "黄色"),
    ("snow", "white", "雪", "白色"),
    ("coal", "black", "煤", "黑色"),
    ("a carrot", "orange", "胡萝卜", "橙色"),
    ("chocolate", "brown", "巧克力", "棕色"),
)

OTHER_FACTS: tuple[Row, ...] = (
    ("How many days does a week have?", "7", "一周有几天？", "7"),
    ("How many months does a year have?", "12", "一年有几个月？", "12"),
    ("How many hours does a day have?", "24", "一天有几个小时？", "24"),
    ("How many legs does a spider have?", "8", "蜘蛛有几条腿？", "8"),
    ("How many legs does a dog have?", "4", "狗有几条腿？", "4"),
    ("How many sides does a triangle have?", "3", "三角形有几条边？", "3"),
    ("What day comes after Monday?", "Tuesday", "星期一的后一天是星期几？", "星期二"),
    ("What day comes after Friday?", "Saturday", "星期五的后一天是星期几？", "星期六"),
    ("What month comes after March?", "April", "三月的下一个月是几月？", "四月"),
    ("What planet do we live on?", "Earth", "我们生活在哪个行星上？", "地球"),
    ("What does a cow drink as a calf?", "milk", "小牛喝什么？", "牛奶"),
    ("What do bees make?", "honey", "蜜蜂酿什么？", "蜂蜜"),
)
