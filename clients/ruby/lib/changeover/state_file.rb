# frozen_string_literal: true

require "digest"
require "fileutils"
require "json"

module Changeover
  # The last known answers, kept on disk so that a start without the server has them. Contexts are kept by their hash,
  # for they may name people. The file is replaced as a whole; one that cannot be read counts as empty.
  class StateFile
    FORMAT = "changeover-ruby/1"

    def self.key(context)
      Digest::SHA256.hexdigest(JSON.generate(sorted(context)))
    end

    def self.sorted(value)
      case value
      when Hash then value.map { |key, inner| [key.to_s, sorted(inner)] }.sort_by(&:first).to_h
      when Array then value.map { |inner| sorted(inner) }
      else value
      end
    end

    def initialize(path)
      @path = path
    end

    # {"contexts" => {hash => {key => flag}}, "stages" => {flag => stage}}
    def read
      document = JSON.parse(File.read(@path, encoding: Encoding::UTF_8))
      return {} unless document.is_a?(Hash) && document["format"] == FORMAT

      document.select { |key, value| %w[contexts stages].include?(key) && value.is_a?(Hash) }
    rescue SystemCallError, JSON::ParserError, ArgumentError
      {}
    end

    def write(contexts, stages)
      FileUtils.mkdir_p(File.dirname(@path))
      temporary = "#{@path}.#{Process.pid}.#{Thread.current.object_id}"
      File.open(temporary, File::WRONLY | File::CREAT | File::TRUNC, 0o600) do |file|
        file.write(JSON.generate("format" => FORMAT, "contexts" => contexts, "stages" => stages))
        file.fsync
      end
      File.rename(temporary, @path)
      true
    rescue SystemCallError, JSON::GeneratorError
      FileUtils.rm_f(temporary.to_s) if temporary
      false
    end
  end
end
