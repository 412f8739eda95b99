#!/bin/sh
# Install the real clients, pinned, each into a folder of its own under the directory given; one that is there stays.
# usage: install.sh DIRECTORY
set -eu
for client in \
    claude=@anthropic-ai/claude-code@2.1.330 \
    codex=@openai/codex@0.169.0 \
    gemini=@google/gemini-cli@0.61.0 \
    opencode=opencode-ai@1.18.33
do
    folder=$1/${client%%=*} package=${client#*=}
    [ "$(cat "$folder/.installed" 2> /dev/null)" != "$package" ] || continue
    echo "Installing $package into $folder ..."
    mkdir -p "$folder"
    echo '{"private": true}' > "$folder/package.json"
    npm install --prefix "$folder" --no-audit --no-fund --loglevel=error "$package"
    echo "$package" > "$folder/.installed"
done
