# SPDX-License-Identifier: LGPL-2.1-only
"""Stands in for `xe` on the host of a test: it answers from /root/xe.json and writes its arguments to /root/xe.log.

    up          false: xapi does not answer
    hosts       [{uuid, name-label, address, check}]; check is what the plugin's check prints (absent: it fails)
    commands    what `xe help --all` lists
    fails       command -> what it prints when it fails
    selftest    what the plugin's selftest prints (absent: it passed)
    restarted   written here: hosts whose agent was told to restart; their check becomes `after_restart`
"""

import json
import sys

STATE = '/root/xe.json'


def main(words):
    with open('/root/xe.log', 'a') as log:
        log.write(' '.join(words) + '\n')
    with open(STATE) as source:
        state = json.load(source)
    if not state['up']:
        return fail('Connection refused (calling connect )')
    command = words[0]
    given = dict(word.split('=', 1) for word in words[1:] if '=' in word)
    if command in state.get('fails', {}):
        return fail(state['fails'][command])
    hosts = {host['uuid']: host for host in state['hosts']}
    if command == 'host-list':
        print(','.join(hosts))
    elif command == 'host-param-get':
        print(hosts[given['uuid']][given['param-name']])
    elif command == 'help':
        print(', '.join(state['commands']))
    elif command == 'update-upload':
        print('uploaded')
    elif command == 'update-list':
        print(given['uuid'] if given['uuid'] in state.get('updates', []) else '')
    elif command == 'host-call-plugin':
        host = hosts[given['host-uuid']]
        assert given['plugin'] == 'relvmoiscsi'
        if given['fn'] == 'selftest':
            answer = state.get('selftest', '{"failures": [], "ok": true, "points": []}')
            print(answer)
            return 0
        assert given['fn'] == 'check'
        answer = host.get('check')
        if host['uuid'] in state.get('restarted', []):
            answer = host.get('after_restart', answer)
        if answer is None:
            return fail('The requested plugin could not be found.\nname: relvmoiscsi')
        print(answer)
    elif command == 'host-restart-agent':
        state.setdefault('restarted', []).append(given['uuid'])
        with open(STATE, 'w') as out:
            json.dump(state, out)
    return 0


def fail(text):
    sys.stderr.write(text + '\n')
    return 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
